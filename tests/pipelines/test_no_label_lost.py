"""From an imported pool to its labels: what different spellings of one pair say is put together."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from pipelines.steps import open_work, run_step
from tests.conftest import make_recipe

STEPS = ("import", "dedup", "split", "filter_responses", "repeats", "verify", "label", "filter")


def label_pool(folder: Path, *rows: tuple[str, str]) -> pl.DataFrame:
    """The labels of a pool of one prompt; of each row the chosen and the rejected response."""
    pool = folder / "pool.jsonl"
    lines = [json.dumps({"prompt": "Why?", "chosen": c, "rejected": r}) for c, r in rows]
    pool.write_text("\n".join(lines))
    recipe = make_recipe(
        prompts={"imports": [{"name": "pool", "path": str(pool)}]},
        label={"policy": "imported"},
    )
    with open_work(str(folder / "lake"), recipe, None) as work:
        for step in STEPS:
            summary = run_step(work, step)
            assert summary.rows_in == summary.kept + sum(summary.dropped.values()), step
        contents = work.look().rollouts.unique("response_id").select("response_id", "content")
        names = dict(contents.iter_rows())
        return work.look().labels.with_columns(
            chosen=pl.col("chosen_id").replace_strict(names, default=None, return_dtype=pl.String)
        )


def test_the_same_pair_in_other_words_adds_its_vote(tmp_path: Path) -> None:
    labels = label_pool(
        tmp_path, ("Because.", "No idea."), ("no idea. ", "BECAUSE."), ("because.", "no  idea.")
    )
    [(status, chosen, probability)] = labels.select("status", "chosen", "probability").rows()
    assert (status, chosen.strip().lower()) == ("labelled", "because.")
    assert abs(probability - 2 / 3) < 1e-6  # two say so, one says the opposite


def test_a_contradiction_goes_to_people_and_not_to_a_coin(tmp_path: Path) -> None:
    labels = label_pool(tmp_path, ("Because.", "No idea."), ("no idea. ", "BECAUSE."))
    assert labels.select("status", "reason", "p_a").rows() == [("to_review", "tie", 0.5)]
