"""The pool before anything was done to it: what pairs came labelled with, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.ship.exams.lessons import take_labels, take_pool
from pipelines.ship.publish import find_version, publish_version
from pipelines.steps import SETTLING_STEPS, open_work, run_step
from schemas.ids import make_id
from schemas.recipe import parse_recipe
from tests.pipelines.ship.exams import papers

Row = dict[str, Any]


def say(number: int, who: str, kind: str, p_a: float, **more: Any) -> Row:
    """What somebody says of pair `number`."""
    words = make_id("word", number)
    return {
        "prompt": f"Tell of {words[:7]} and {words[7:14]}.", "response_a": f"first {number}",
        "response_b": f"second {number}", "annotator": who, "kind": kind, "p_a": p_a, **more,
    }  # fmt: skip


def teach(folder: Path, *files: list[Row]) -> list[tuple[str, str]]:
    """Chosen and rejected of the uncurated pool of a version of these imports, sorted."""
    sources = [
        {"path": str(papers.write(folder / f"{at}.jsonl", rows)), "name": f"source{at}",
         "layout": "judgments", "category": "general"}
        for at, rows in enumerate(files)
    ]  # fmt: skip
    recipe = parse_recipe(
        {"name": "toy", "prompts": {"imports": sources}, "split": {"test": 0.2},
         "label": {"policy": "imported"}, "train": None}
    )  # fmt: skip
    with open_work(str(folder / "lake"), recipe, None) as work:
        summaries = [run_step(work, step) for step in ("import", *SETTLING_STEPS)]
        publish_version(work.lake, work.run, work.look(), summaries)
        pool = take_pool(work.lake, find_version(work.lake, "toy"), 3)
    assert pool is not None
    return sorted(zip(pool.chosen, pool.rejected, strict=True))


def test_the_pool_is_its_labels_and_no_opinion_or_gold(tmp_path: Path) -> None:
    """Two people and the imported labels say a; two machines and the gold of others say b."""
    labels = [say(i, "crowd", "import", 1.0) for i in range(10)]
    people = [say(i, f"person{who}", "human", 1.0) for i in range(25) for who in range(2)]
    gold = [say(i, "expert", "human", 0.0, gold=True) for i in range(40)]
    machines = [say(i, who, kind, 0.1) for i in range(40)
                for who, kind in (("judge", "llm"), ("ranker", "reward_model"))]  # fmt: skip
    found = teach(tmp_path, [*labels, *people, *gold], machines)
    assert 12 < len(found) < 25 and len(set(found)) == len(found)
    assert all(chosen.startswith("first") for chosen, _ in found)


def lay_out(*rows: tuple[str, str, str, float, str]) -> pl.DataFrame:
    columns = ("annotator", "response_a", "response_b", "p_a", "kind")
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        gold=pl.lit(None, pl.Boolean), order=pl.lit(None, pl.String), sample_index=pl.lit(0),
        a="response_a", b="response_b",
    )  # fmt: skip


def test_people_who_are_the_gold_label_only_what_nobody_else_did() -> None:
    said = lay_out(
        ("import:x", "p", "q", 1.0, "import"), ("import:x/u", "p", "q", 0.0, "human"),
        ("import:x/v", "p", "q", 0.0, "human"), ("import:x/u", "r", "s", 0.0, "human"),
    )  # fmt: skip
    assert take_labels(said, others=False)["chosen"].to_list() == ["p", "s"]
    assert take_labels(said, others=True)["chosen"].to_list() == ["q", "s"]


def test_a_pair_twice_in_a_pool_is_there_twice_and_two_speakers_are_one_row() -> None:
    said = lay_out(
        ("import:x", "p", "q", 1.0, "import"), ("import:x", "p", "q", 0.0, "import"),
        ("import:x", "r", "s", 1.0, "import"), ("import:x/u", "r", "s", 0.8, "import"),
        ("import:x/v", "r", "s", 0.0, "import"), ("import:x", "t", "u", 0.5, "import"),
    )  # fmt: skip
    found = take_labels(said, others=True)
    assert found.select("chosen", "rejected").rows() == [("p", "q"), ("q", "p"), ("r", "s")]
    assert take_labels(said.clear(), others=False).is_empty()
