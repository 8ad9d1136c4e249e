"""Preference cycles, and which of their labels go."""

from __future__ import annotations

import itertools

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from annotators.ranking.cycles import find_cycles
from pipelines.clean.contradictions import find_contradictions

SCHEMA = {
    "pair_id": pl.String, "prompt_id": pl.String, "chosen_id": pl.String, "rejected_id": pl.String,
    "tier": pl.Int64, "votes": pl.Int64, "margin": pl.Float64,
}  # fmt: skip


def find(*labels: tuple[str, str, int, int, float], prompt: str = "p") -> dict[str, str | None]:
    """The pairs that go and what stays of their cycle. Of each label: chosen, rejected, support."""
    rows = [(a + b, prompt, a, b, *support) for a, b, *support in labels]
    found = find_contradictions(pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    return {row["item_id"]: row["representative"] for row in found}


def test_the_weakest_label_of_a_cycle_goes() -> None:
    assert find(("a", "b", 0, 3, 1.0), ("b", "c", 1, 3, 1.0), ("c", "a", 2, 1, 1.0)) == {"ca": "ab"}
    assert find(("a", "b", 1, 3, 1.0), ("b", "c", 1, 2, 1.0), ("c", "a", 1, 3, 1.0)) == {"bc": "ab"}
    assert find(("a", "b", 1, 1, 0.2), ("b", "c", 1, 1, 0.9), ("c", "a", 1, 1, 0.5)) == {"ab": "bc"}


def test_labels_with_equal_support_go_together() -> None:
    equal = (1, 1, 1.0)
    cycle = [("a", "b", *equal), ("b", "c", *equal), ("c", "a", *equal)]
    assert find(*cycle, ("a", "d", *equal)) == {"ab": None, "bc": None, "ca": None}


def test_labels_in_order_stay() -> None:
    assert find(("a", "b", 1, 1, 1.0), ("b", "c", 1, 1, 1.0), ("a", "c", 1, 1, 1.0)) == {}
    assert find() == {}


@given(st.permutations(list(itertools.combinations("abcde", 2))), st.data())
def test_what_stays_has_no_cycle_and_what_is_in_none_stays(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    labels = []
    for a, b in pairs[: data.draw(st.integers(0, 10))]:
        turned = data.draw(st.booleans())
        support = (data.draw(st.integers(0, 2)), data.draw(st.integers(1, 2)), 1.0)
        labels.append((*((b, a) if turned else (a, b)), *support))
    gone = find(*labels)
    assert find(*labels[::-1]) == gone
    edges = {a + b: ("abcde".index(a), "abcde".index(b), 1.0) for a, b, *_ in labels}
    left = [edge for name, edge in edges.items() if name not in gone]
    assert find_cycles(5, left) == []
    inside = {m for cycle in find_cycles(5, list(edges.values())) for m in cycle.members}
    assert all({edges[name][0], edges[name][1]} <= inside for name in gone)
