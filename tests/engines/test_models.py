"""The embedded model: hashed once, converted once."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines import models
from engines.models import EMBEDDED_NAME, ensure_embedded, resolve_model
from schemas.recipe import ModelSpec


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the file that the model's package ships."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    monkeypatch.setattr(models, "_find_gguf", lambda: file)
    return file


def test_two_first_runs_make_one_checkpoint(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[Path] = []

    def convert_slowly(folder: Path) -> None:
        converted.append(folder)
        time.sleep(0.3)
        folder.mkdir(parents=True)
        (folder / ".ready").touch()

    monkeypatch.setattr(models, "_convert_embedded", convert_slowly)
    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(lambda _: ensure_embedded(), range(3)))
    assert converted == [folders[0]]
    assert len(set(folders)) == 1
    assert folders[0].name.startswith(f"{EMBEDDED_NAME}-")


def test_the_embedded_model_is_read_again_only_when_it_changed(gguf: Path) -> None:
    def revision() -> str:
        return resolve_model(ModelSpec()).revision

    first, stamp = revision(), gguf.stat().st_mtime_ns
    gguf.write_bytes(b"altered")  # of the same size
    os.utime(gguf, ns=(stamp, stamp))
    assert revision() == first  # it was not read
    os.utime(gguf, ns=(stamp, stamp + 1_000_000))
    assert revision() != first
