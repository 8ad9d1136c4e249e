"""Opinions on responses that say the same text."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipelines.label.variants import VARIANTS, speak_of_standing

SCHEMA = {
    "response_a": pl.String, "response_b": pl.String, "p_a": pl.Float64, "score": pl.Float64,
    "order": pl.String,
}  # fmt: skip


def speak(rows: list[tuple], variants: dict[str, str]) -> list[tuple]:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    named = pl.DataFrame(list(variants.items()), schema=VARIANTS, orient="row")
    return speak_of_standing(frame, named).rows()


def test_an_opinion_keeps_its_meaning_when_the_sides_turn() -> None:
    rows = [
        ("a", "b", 0.9, None, "ab"), ("a", "c", 0.9, None, None), ("b", "c", 0.9, None, "ba"),
        ("a", "b", None, 1.5, None), ("b", None, None, 3.0, None),
    ]  # fmt: skip
    assert speak(rows, {"b": "d"}) == [
        ("a", "d", 0.9, None, "ab"),
        ("a", "c", 0.9, None, None),
        ("c", "d", 1 - 0.9, None, "ab"),
        ("a", "d", None, 1.5, None),
        ("d", None, None, 3.0, None),
    ]


def test_a_comparison_of_a_text_with_itself_says_nothing() -> None:
    assert speak([("a", "b", 0.9, None, "ab")], {"b": "a"}) == []
    assert speak([("a", "b", 0.9, None, "ab")], {}) == [("a", "b", 0.9, None, "ab")]


ids = st.sampled_from("abcdef")


@given(st.lists(st.tuples(ids, ids, st.floats(0, 1)), max_size=8), st.dictionaries(ids, ids))
def test_the_favourite_is_the_same_text_before_and_after(
    drawn: list[tuple[str, str, float]], variants: dict[str, str]
) -> None:
    names = {key: value for key, value in variants.items() if value not in variants}
    rows = [(*sorted((a, b)), p, None, "ab") for a, b, p in drawn if a != b]
    said = [(names.get(a, a), names.get(b, b), p) for a, b, p, *_ in rows]
    expected = [(a, b, p) if a < b else (b, a, 1 - p) for a, b, p in said if a != b]
    assert [row[:3] for row in speak(rows, names)] == expected
