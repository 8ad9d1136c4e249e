"""A large pool is looked at in blocks: what is found is what one look at the whole finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.label.loop import evidence
from pipelines.label.loop.evidence import cut_prompts
from pipelines.label.loop.recycling import read_evidence
from pipelines.lake import reads, vectors
from pipelines.lake.importing import import_pool
from pipelines.steps import open_work, settle
from tests.pipelines.label.loop.planted_pool import (
    make_pool_recipe,
    plant_pool,
    use_numbers,
    write_pool,
)


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 40))
def test_blocks_hold_whole_prompts_and_every_pair_once(prompts: list[int], most: int) -> None:
    pairs = pl.DataFrame(
        {"pair_id": [f"{at:02}" for at in range(len(prompts))], "prompt_id": prompts},
        schema={"pair_id": pl.String, "prompt_id": pl.Int64},
    )
    blocks = list(cut_prompts(pairs, most))
    assert pl.concat(blocks).sort("pair_id").equals(pairs)
    seen = [set(block["prompt_id"]) for block in blocks]
    assert len(blocks) >= 1 and sum(map(len, seen)) == len(set(prompts))
    largest = pairs.group_by("prompt_id").len()["len"].max() or 0
    assert all(len(block) < most + largest for block in blocks) or len(blocks) == 1


def test_evidence_and_reading_in_blocks_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    recipe = make_pool_recipe(write_pool(tmp_path / "pool.jsonl", plant_pool(240, seed=4)))
    with open_work(str(tmp_path / "lake"), recipe, None) as work:
        for source in recipe.prompts.imports:
            import_pool(work.lake, work.run, source)
        settle(work, until="verify")
        whole = work.look().evidence
        at, found = read_evidence(work.lake, work.run, recipe, whole)
        texts = work.look().rollouts
        monkeypatch.setattr("pipelines.view.MANY", 1)
        monkeypatch.setattr(evidence, "BLOCK", 17)
        monkeypatch.setattr(reads, "STREAM_ROWS", 13)
        monkeypatch.setattr(vectors, "EXACT_BYTES", 0)
        work.look().__dict__.pop("evidence", None)
        parts = work.look().evidence
        assert "rollouts" not in work.look().__dict__ and work.look().rollouts.equals(texts)
        again, single = read_evidence(work.lake, work.run, recipe, parts)
    assert parts is not whole and parts.pairs.equals(whole.pairs)
    assert parts.judges == whole.judges and parts.notices == whole.notices
    np.testing.assert_array_equal(parts.said, whole.said)
    assert parts.spoken.equals(whole.spoken) and len(whole.spoken) == 240 * 4
    np.testing.assert_array_equal(again, at)
    np.testing.assert_allclose(single.p, found.p, atol=1e-4)
