"""The tables of decontamination: the tools agree on what is shared, and thresholds part pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import decontamination as tables
from benchmarks import decontamination_tools as tools


def test_all_tools_find_the_planted_rows_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "PLANTED", 0.2)
    source, asked = tools.write_rows(tmp_path, 300, 40)
    planted = pl.read_parquet(tmp_path / "planted.parquet")["id"].to_list()
    known = pl.read_parquet(asked)["text"]
    assert 30 < len(planted) < 90
    for tool, work in tools.WORKS.items():
        found = sorted(i for part in work(source, known) for i in part)
        assert found == planted, tool


def test_the_threshold_is_the_one_that_parts_best_on_the_half_it_is_chosen_on() -> None:
    """Ten questions at right angles; their paraphrases lean away by a known cosine, and those of
    the other half further, which choosing must not see."""
    eye = np.eye(20, dtype=np.float32)
    half = np.arange(10) < 5
    near = np.where(half, 0.9, 0.7).astype(np.float32)
    lean = np.sqrt(1 - near**2)
    rewritten = near[:, None] * eye[:10] + lean[:, None] * eye[10:]
    chosen = tables.choose_threshold(eye[:10], rewritten, half)
    assert chosen <= 0.9
    right = {"n": 5, "recall": 1.0, "precision": 1.0, "false share of questions": 0.0}
    assert tables.score_semantic(eye[:10], rewritten, half, 0.89) == right
    assert tables.score_semantic(eye[:10], rewritten, ~half, 0.89)["recall"] == 0


def test_halves_do_not_depend_on_the_order() -> None:
    questions = [f"What is {i}?" for i in range(200)]
    first = tables.split_half(questions)
    assert 60 < first.sum() < 140
    assert tables.split_half(questions[::-1])[::-1].tolist() == first.tolist()
