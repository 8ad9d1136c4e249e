"""What of an exam a version teaches."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.ship.exams.items import ExamSet, Item
from pipelines.ship.exams.leaks import drop_taught, find_leaks, gather_taught, keep_taught


def ask(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def make_set(*prompts: list[dict[str, str]]) -> ExamSet:
    items = [
        Item(str(at), tuple(prompt), (f"right {at}", f"wrong {at}"), (True, False), "c", "s")
        for at, prompt in enumerate(prompts)
    ]
    return ExamSet("x", "x.jsonl", tuple(items), {}, "hash")


def teach(*prompts: list[dict[str, str]], split: str = "train") -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {"pair_id": f"{split} {at}", "prompt": prompt, "split": split}
        for at, prompt in enumerate(prompts)
    ]
    return pl.DataFrame(rows)


def test_items_are_left_out_whose_prompts_a_version_teaches() -> None:
    found = make_set(
        ask("What is 2 + 2?"),
        ask("what is 2 + 2"),  # the same words
        ask("What is 2 - 2?"),
        ask("Why is the sky blue?"),
        ask("Who wrote it?"),
        ask("Why is the sky blue?", "Light scatters.", "And at dusk?"),
    )
    first = teach(ask("WHAT is 2 + 2?"))
    second = teach(ask("Why is the sky blue?", "Light scatters.", "And why red at dusk?"))

    def keep(*versions: pl.DataFrame) -> list[str]:
        return [item.key for item in drop_taught(found, gather_taught(versions)).items]

    assert keep(first, second) == ["2", "4", "5"]
    assert keep(first) == ["2", "3", "4", "5"]
    assert keep(first.clear()) == ["0", "1", "2", "3", "4", "5"]


def test_items_whose_responses_are_all_taught_are_counted() -> None:
    rows = teach(ask("One?"), ask("Two?")).with_columns(
        source=pl.lit("s"),
        chosen=pl.Series([ask("It", "is", "Right  0"), ask("right 1.")]),
        rejected=pl.Series([ask("wrong 0"), ask("Wrong 1")]),
    )
    found = make_set(ask("Zero?"), ask("One?"), ask("Two?"))  # "right 1." is not "right 1"
    assert find_leaks(rows, found)["responses"] == 1
    assert find_leaks(rows.head(1), found) == {
        "pairs": 1, "prompts": 1, "examples": ["1"], "responses": 1}  # fmt: skip
    assert find_leaks(rows.tail(1), found)["responses"] == 0


def test_what_is_held_out_is_not_taught() -> None:
    rows = pl.concat(
        [teach(ask(split), split=split) for split in ("train", "gold-teach", "test", "gold-exam")]
    )
    assert keep_taught(rows)["split"].to_list() == ["train", "gold-teach"]
