"""Cleaning of labelled pairs: repeats, mirrors, and a text compared with itself."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clean.filters import filter_pairs, find_repeats, keep_clean
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.tables import polars_schema

Pair = tuple[str, str, str, str]  # pair id, prompt text, chosen text, rejected text


def make_frames(pairs: list[Pair]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """labels, prompts and rollouts in which every pair has prompts and responses of its own."""
    labels = pl.DataFrame(
        [(i, f"{i}-p", f"{i}-c", f"{i}-r") for i, *_ in pairs],
        schema=dict.fromkeys(["pair_id", "prompt_id", "chosen_id", "rejected_id"], pl.String),
        orient="row",
    )
    prompts = pl.DataFrame(
        {
            "prompt_id": [f"{i}-p" for i, *_ in pairs],
            "messages": [[{"role": "user", "content": prompt}] for _, prompt, _, _ in pairs],
            "verifier": ["number" if i.startswith("checked") else None for i, *_ in pairs],
        },
        schema={name: polars_schema("prompts")[name]
                for name in ("prompt_id", "messages", "verifier")},
    )  # fmt: skip
    responses = [
        (f"{i}-{side}", text) for i, _, c, r in pairs for side, text in (("c", c), ("r", r))
    ]
    rollouts = pl.DataFrame(
        responses, schema={"response_id": pl.String, "content": pl.String}, orient="row"
    )
    return labels, prompts, pl.concat([rollouts, rollouts])  # two samples may say one thing


def find(pairs: list[Pair]) -> dict[str, tuple[str, str | None]]:
    """Pair id -> the rule that drops it and the pair that it repeats."""
    rows = find_repeats(*make_frames(pairs))
    assert {(row["item_kind"], row["action"]) for row in rows} <= {("pair", "drop")}
    return {row["item_id"]: (row["rule"], row["representative"]) for row in rows}


def test_of_pairs_that_contradict_each_other_with_equal_support_none_stays() -> None:
    found = find([
        ("a", "Why?", "Because.", "No idea."),
        ("b", "why? ", "BECAUSE.", "no  idea."),
        ("c", "Why?", "No idea.", "Because."),
        ("d", "Why?", "Because.", "Go away."),
        ("e", "How?", "Because.", "No idea."),
        ("f", "How?", "The same", "  the SAME\n"),
        ("g", "Why?", "caf\u00e9", "cafe\u0301"),
    ])  # fmt: skip
    assert found == {
        "a": ("mirrored_pair", None),
        "b": ("mirrored_pair", None),
        "c": ("mirrored_pair", None),
        "f": ("identical_responses", None),
        "g": ("identical_responses", None),
    }


def test_texts_that_differ_in_their_stops_alone_are_no_pair() -> None:
    found = find([
        ("a", "Why?", "So it is; we know.", "so it is, we know"),
        ("b", "Why?", "- I forgot.", "I forgot."),
        ("c", "Why?", "k + 1 \u2265 0", "k + 1 \u2265 0."),
        ("checked", "Without a comma, please.", "yes, 4.", "yes 4"),
        ("sign", "Why?", "- 4", "4"), ("minus", "Why?", "-4", "4"), ("less", "Why?", "4-2", "4.2"),
        ("point", "Why?", "3.14", "314"), ("asked", "Why?", "You do?", "You do."),
        ("code", "Why?", "a[0].b", "a(0).b"), ("bold", "Why?", "**so**", "so"),
        ("many", "Why?", "1,000", "1.000"), ("same", "Why?", "So.", "so."),
        ("list", "Why?", "one - two", "one two"),
    ])  # fmt: skip
    assert {i: rule for i, (rule, _) in found.items()} == {
        "a": "differs_in_punctuation", "b": "differs_in_punctuation",
        "c": "differs_in_punctuation", "same": "identical_responses",
    }  # fmt: skip


SAME = ("Why?", "Because.", "No idea.")
MIRROR = ("Why?", "No idea.", "Because.")


def test_a_repeat_is_named_with_the_pair_that_stays() -> None:
    assert find([("c", *SAME), ("b", *SAME), ("a", *SAME)]) == {
        "b": ("duplicate_pair", "a"),
        "c": ("duplicate_pair", "a"),
    }


@pytest.mark.parametrize(
    ("column", "values"),
    [("tier", ["candidate", "gold", "silver"]), ("annotators", [["x"], ["x", "y"], ["z"]])],
)
def test_the_better_supported_of_contradicting_pairs_stays(column: str, values: list) -> None:
    labels, prompts, rollouts = make_frames([("a", *SAME), ("b", *MIRROR), ("c", *SAME)])
    rows = find_repeats(labels.with_columns(pl.Series(column, values)), prompts, rollouts)
    assert {row["item_id"]: (row["rule"], row["representative"]) for row in rows} == {
        "a": ("mirrored_pair", "b"),
        "c": ("mirrored_pair", "b"),
    }


words = st.sampled_from(["x", "X ", "y", "z", "é", "e\u0301"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(words, words, words), max_size=10))
def test_what_stays_says_each_thing_once_and_one_way_round(
    drawn: list[tuple[str, str, str]],
) -> None:
    pairs = [(f"{i:02}", *texts) for i, texts in enumerate(drawn)]
    found = find(pairs)
    same = {"X ": "x", "e\u0301": "é"}
    said = [tuple(same.get(text, text) for text in texts) for i, *texts in pairs if i not in found]
    ways = {(prompt, frozenset((chosen, rejected))) for prompt, chosen, rejected in said}
    assert len(ways) == len(said)
    assert all(chosen != rejected for _, chosen, rejected in said)
    kinds = [tuple(same.get(t, t) for t in texts) for _, *texts in pairs]
    torn = {(p, frozenset((c, r))) for p, c, r in kinds if (p, r, c) in kinds}
    everything = {(p, frozenset((c, r))) for p, c, r in kinds if c != r}
    assert ways == everything - torn  # nothing goes that nobody else says or contradicts


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def test_the_stage_counts_what_it_drops_and_a_flipped_label_is_a_new_question(lake: Lake) -> None:
    labels, prompts, rollouts = make_frames([
        ("a", "Why?", "Because.", "No idea."), ("b", "Why?", "Because.", "No idea."),
        ("c", "Why?", "Yes", "yes"),
    ])  # fmt: skip
    summary = filter_pairs(lake, new_run(), labels, prompts, rollouts)
    assert (summary.rows_in, summary.kept) == (3, 1)
    assert summary.dropped == {"duplicate_pair": 1, "identical_responses": 1}
    assert keep_clean(lake, labels)["pair_id"].to_list() == ["a"]
    flipped = labels.with_columns(
        chosen_id=pl.when(pl.col("pair_id") == "b").then("rejected_id").otherwise("chosen_id"),
        rejected_id=pl.when(pl.col("pair_id") == "b").then("chosen_id").otherwise("rejected_id"),
    )
    again = filter_pairs(lake, new_run(), flipped, prompts, rollouts)
    assert again.dropped == {"identical_responses": 1, "mirrored_pair": 2}
    none = filter_pairs(lake, new_run(), labels.clear(), prompts, rollouts)
    assert (none.rows_in, none.kept, none.dropped) == (0, 0, {})
