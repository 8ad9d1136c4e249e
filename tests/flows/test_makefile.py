"""Targets of the Makefile that write what is committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LOCK = "# Install with: pip\nold==1.0\n"


def write_lock(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "x.lock").write_text(LOCK)
    command = ["make", "lock", f"LOCKS={folder}", "NAME=x", f"FROM={source}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_lock_is_written_from_an_environment_and_kept_where_there_is_none(
    tmp_path: Path,
) -> None:
    assert write_lock(tmp_path, str(tmp_path / "typo")).returncode != 0
    assert (tmp_path / "x.lock").read_text() == LOCK
    assert [file.name for file in tmp_path.iterdir()] == ["x.lock"]
    done = write_lock(tmp_path, sys.executable)
    assert done.returncode == 0, done.stderr
    head, *lines = (tmp_path / "x.lock").read_text().splitlines()
    assert head == LOCK.splitlines()[0]
    assert "old==1.0" not in lines and any(line.startswith("duckdb==") for line in lines)
