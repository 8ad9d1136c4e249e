"""Show 3: gold in the judge's prompt, and both orders, each on and off.

    python -m benchmarks.loop.prompting [--realdata FOLDER] [--pairs 300] [--lake FOLDER]

PandaLM's pairs with what three people said go through import, dedup and split (half of the prompts
teach, half are the exam) into a lake, and the embedded model on vLLM judges exam pairs on which all
three people took one side, with up to 8 pairs of gold in its prompt and without. `--lake` keeps
what was answered, so that a killed run goes on. What needs no model is in
`benchmarks.loop.recorded`; `python -m benchmarks.loop --show 3` prints both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from annotators.pairwise import choose_orders
from annotators.reliability import make_cards
from annotators.talk import Item, Judge
from benchmarks.loop.orders import (
    WAYS,
    combine_orders,
    score_sides,
    tabulate_gains,
    tabulate_ways,
)
from benchmarks.pandalm import print_table
from engines.services import release_services
from pipelines.label.judges import load_judges
from pipelines.label.judging import judge_pairs
from pipelines.steps import Work, open_work, run_step
from schemas.ids import make_seed
from schemas.recipe import Recipe, parse_recipe

PAIRS = 300
JUDGES = {
    "pairwise": {"method": "pairwise"},
    "pairwise, gold": {"method": "pairwise", "examples": 8},
    "yes_prob": {"method": "yes_prob"},
    "yes_prob, gold": {"method": "yes_prob", "examples": 8},
}
PEOPLE = """
SELECT prompt_id, response_a, response_b, p_a FROM judgments
WHERE kind = 'human' AND response_b IS NOT NULL AND valid
"""
SAID = """
SELECT * FROM judgments SEMI JOIN asked USING (response_a, response_b)
WHERE kind = 'llm' AND NOT starts_with(annotator, 'import:')
"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    place = Path(os.environ.get("ASSAY_REALDATA", "../shared/data"))
    parser.add_argument("--realdata", type=Path, default=place)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--lake", type=Path)
    options = parser.parse_args()
    report_prompts(options.realdata, options.pairs, options.lake)


def report_prompts(folder: Path, most: int = PAIRS, kept: Path | None = None) -> None:
    """The tables of the embedded model."""
    with tempfile.TemporaryDirectory() as scratch:
        recipe = make_recipe(folder / "pandalm_999x3.jsonl.gz", list(JUDGES.values()))
        with open_work(str(kept or scratch), recipe, None) as work:
            for step in ("import", "dedup", "split"):
                run_step(work, step)
            view = work.look()
            exam, truth = choose_exam(work, most)
            judges = dict(zip(JUDGES, load_judges(recipe, None), strict=True))
            try:
                judge_pairs(work.lake, work.run, recipe, None, view.prompts, exam, view.rollouts)
            finally:
                release_services()
            said = work.lake.query(SAID, asked=exam)
        sides = view.prompts.group_by("split").len().sort("split").rows()
        print(f"## Gold in the prompt of the embedded model\n\n{len(exam)} exam pairs of "
              f"{exam['prompt_id'].n_unique()} prompts, on which all people took one side; prompts "
              f"by split: {sides}\n")  # fmt: skip
        report_judges(said, truth, judges, dict(view.pairs.select("pair_id", "prompt_id").rows()))


def make_recipe(pool: Path, judges: Sequence[dict[str, Any]]) -> Recipe:
    """PandaLM as a pool, half of its prompts held out."""
    return parse_recipe({
        "name": "prompting",
        "prompts": {"imports": [{"path": str(pool), "name": "pandalm"}]},
        "split": {"test": 0.5},
        "judges": list(judges),
    })  # fmt: skip


def choose_exam(work: Work, most: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs of prompts in test on which all people took one side, whole prompts in an order by hash
    until there are `most`; and what is right (prompt_id, response_a, response_b, p_a, category)."""
    view = work.look()
    said = work.lake.query(PEOPLE).group_by("prompt_id", "response_a", "response_b").agg(
        pl.len(), low=pl.col("p_a").min(), high=pl.col("p_a").max()
    )  # fmt: skip
    one_sided = (pl.col("low") == pl.col("high")) & (pl.col("low") != 0.5) & (pl.col("len") >= 3)
    truth = said.filter(one_sided).select(
        "prompt_id", "response_a", "response_b", p_a="low", category=pl.lit("all")
    )
    tested = view.prompts.filter(pl.col("split") == "test").select("prompt_id")
    pairs = view.pairs.join(tested, on="prompt_id", how="semi").join(
        truth, on=["response_a", "response_b"], how="semi"
    )
    by_prompt = sorted(
        pairs.group_by("prompt_id").len().rows(), key=lambda row: make_seed("exam", row[0])
    )
    taken, count = [], 0
    for prompt_id, size in by_prompt:
        if count >= most:
            break
        taken, count = [*taken, prompt_id], count + size
    chosen = pairs.filter(pl.col("prompt_id").is_in(taken)).sort("pair_id")
    return chosen, truth.join(chosen, on=["response_a", "response_b"], how="semi")


def report_judges(
    said: pl.DataFrame, truth: pl.DataFrame, judges: dict[str, Judge], prompt_of: dict[str, str]
) -> None:
    """What the judges said of the pairs, against the truth; `prompt_of` pairs of gold are shown."""
    cards = {row["annotator"]: row for row in make_cards(said, truth).iter_rows(named=True)}
    facts, arms = [], {}
    for name, judge in judges.items():
        card, mine = cards[judge.annotator], said.filter(pl.col("annotator") == judge.annotator)
        shown = [json.loads(text)["examples"] for text in mine["detail"].drop_nulls()] or [[]]
        facts.append({
            "judge": name,
            "verdicts": card["n"],
            "calls failed": card["calls_failed"],
            "read": card["n_valid"] / card["n"],
            "first chosen": card["first_position_rate"],
            "orders agree": card["orders_agree"],
            "examples shown": float(np.mean([len(ids) for ids in shown])),
            "of prompts": float(np.mean([len({prompt_of[key] for key in ids}) for ids in shown])),
            "shown none": float(np.mean([not ids for ids in shown])),
            "tokens a pair, both orders": (card["tokens"] or 0) / len(truth),
        })  # fmt: skip
        for way, p in read_ways(mine, truth).items():
            arms[f"{name}, {way}"] = score_sides(p, truth["p_a"].to_numpy() > 0.5)
    print_table(pl.DataFrame(facts))
    table, shares, names = tabulate_ways(arms, truth["prompt_id"].to_list())
    print_table(table)
    told = [name for name in judges if not name.endswith(", gold")]
    gold = [(f"{name}, gold, {way}", f"{name}, {way}") for name in told for way in WAYS]
    both = [(f"{name}, {way}", f"{name}, {WAYS[0]}") for name in judges for way in WAYS[1:]]
    print_table(tabulate_gains(shares, names, [*gold, *both]))


def read_ways(said: pl.DataFrame, truth: pl.DataFrame) -> dict[str, np.ndarray]:
    """`combine_orders` on a judge's rows, in the order of `truth`."""
    keys = ["response_a", "response_b"]
    by_order = [
        truth.select("prompt_id", *keys)
        .join(said.filter(pl.col("order") == order).select(*keys, p="p_a"), on=keys, how="left",
              maintain_order="left")["p"]
        .cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for order in ("ab", "ba")
    ]  # fmt: skip
    one = [
        choose_orders("random", Item(prompt, (), (a, b), ("", ""))) == ("ab",)
        for prompt, a, b in truth.select("prompt_id", *keys).iter_rows()
    ]
    return combine_orders(*by_order, np.array(one, dtype=bool))


if __name__ == "__main__":
    main()
