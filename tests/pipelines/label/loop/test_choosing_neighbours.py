"""Neighbours of gold are looked for by what both sides have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.label.loop.plans import choose_retrieved
from tests.pipelines.label.loop.loop_lake import make_loop_recipe, open_loop
from tests.pipelines.label.loop.planted_pool import embed_planted, use_numbers


def describe(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "attributes_id": f"d-{row['pair_id']}", "target": row["pair_id"],
        "prompt_id": row["prompt_id"], "annotator": "attributes:m", "task_category": "code",
        "guideline": "prefer what runs", "desired_attributes": ["short"], "valid": True,
    }  # fmt: skip


def test_attributes_count_only_where_gold_and_pool_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    seen: list[str] = []

    def embed(texts: list[str], model: str, **_: Any) -> Any:
        seen.extend(texts)
        return embed_planted(texts, model)

    monkeypatch.setattr("pipelines.lake.vectors.embed_texts", embed)
    with open_loop(tmp_path, make_loop_recipe(tmp_path, "http://x/v1")) as work:
        evidence = work.look().evidence
        state: Any = SimpleNamespace(
            evidence=evidence, pairs=evidence.pairs, truth=evidence.truth,
            p_best=np.full(len(evidence.pairs), 0.5),
        )  # fmt: skip

        def choose() -> tuple[list[str], set[bool]]:
            seen.clear()
            chosen = choose_retrieved(work.lake, work.run, state, set(), 2)
            return chosen, {"prefer what runs" in text for text in seen}

        bare, described = choose()
        assert bare and described == {False}
        for known in (True, False):  # first gold alone, as after iteration 0
            rows = evidence.pairs.filter(pl.col("truth").is_not_null() == known)
            work.lake.append(
                {"attributes": [describe(row) for row in rows.iter_rows(named=True)]},
                run=work.run, stage="test",
            )  # fmt: skip
            chosen, described = choose()
            assert described == (set() if known else {True})  # nothing new to embed; all of it
            assert chosen and (chosen == bare) == known
