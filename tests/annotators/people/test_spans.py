"""What several people marked, and when two markings are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.people.spans import Span, match_spans, merge_spans

spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (min(s), max(s))), max_size=4
)


def paint(marked: list[Span]) -> set[int]:
    return {place for start, end in marked for place in range(start, end)}


@pytest.mark.parametrize(
    ("marked", "merged"),
    [
        ([], []),
        ([[(0, 4)]], [(0, 4)]),
        ([[(0, 4)], [(2, 6)]], [(2, 4)]),
        ([[(0, 4)], []], []),
        ([[(0, 4)], [(2, 6)], []], [(2, 4)]),
        ([[(0, 2), (2, 4)], [(0, 4)]], [(0, 4)]),
        ([[(0, 9)], [(0, 2), (5, 9)]], [(0, 2), (5, 9)]),
        ([[(0, 4)], [(0, 4)], [(8, 9)]], [(0, 4)]),
    ],
)
def test_by_hand(marked: list[list[Span]], merged: list[Span]) -> None:
    assert merge_spans(marked) == merged


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([], [], True), ([(3, 3)], [], True), ([(0, 1)], [], False),
        ([(0, 4)], [(2, 6)], False), ([(0, 4)], [(1, 5)], True), ([(0, 4)], [(0, 8)], True),
        ([(0, 4)], [(0, 9)], False), ([(0, 2), (2, 4)], [(0, 4)], True),
    ],
)  # fmt: skip
def test_half_of_what_either_marks(one: list[Span], other: list[Span], same: bool) -> None:
    assert match_spans(one, other) == same == match_spans(other, one)


@given(st.lists(spans, max_size=5))
def test_a_character_is_kept_where_more_than_half_marked_it(marked: list[list[Span]]) -> None:
    votes = [paint(each) for each in marked]
    kept = paint(merge_spans(marked))
    assert kept == {p for p in range(20) if 2 * sum(p in each for each in votes) > len(votes)}


@given(spans)
def test_everybody_agrees_with_himself(marked: list[Span]) -> None:
    assert match_spans(marked, marked)
    assert paint(merge_spans([marked, marked, marked])) == paint(marked)
