"""Preference cycles: found where they are, and nowhere else."""

from __future__ import annotations

import gzip
import json
import math
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.ranking.cycles import Cycle, average_margins, find_cycles
from annotators.ranking.fit import fit_least_squares, select_pairs
from annotators.ranking.standing import Comparison

SLOW_MACHINES = settings(deadline=None)
comparisons = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 6), st.sampled_from([-1.0, -0.3, 0.0, 0.3, math.nan])
    ).filter(lambda row: row[0] != row[1]),
    max_size=30,
)


def test_a_cycle_is_found_with_its_witness() -> None:
    made = [(0, 1, 0.2), (1, 2, 0.9), (2, 0, 0.1), (3, 0, 0.5), (2, 4, 0.5)]
    assert find_cycles(5, made) == [Cycle((0, 1, 2), (0, 1, 2))]


def test_the_witness_is_a_shortest_cycle_of_its_component() -> None:
    ring = [(i, (i + 1) % 6, 1.0) for i in range(6)]
    assert find_cycles(6, ring) == [Cycle((0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5))]
    with_chord = [*ring, (3, 1, 1.0)]
    assert find_cycles(6, with_chord) == [Cycle((0, 1, 2, 3, 4, 5), (1, 2, 3))]


def test_two_cycles_are_two() -> None:
    made = [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0), (3, 4, 1.0), (4, 5, 1.0), (5, 3, 1.0)]
    assert [cycle.members for cycle in find_cycles(6, [*made, (0, 3, 1.0)])] == [
        (0, 1, 2),
        (3, 4, 5),
    ]


@pytest.mark.parametrize("margin", [0.0, math.nan])
def test_a_tie_or_a_failure_closes_no_cycle(margin: float) -> None:
    assert find_cycles(3, [(0, 1, 1.0), (1, 2, 1.0), (2, 0, margin)]) == []


def test_a_pair_judged_both_ways_is_its_mean_and_no_cycle() -> None:
    assert average_margins([(0, 1, 0.5), (1, 0, 0.1), (0, 1, math.nan)]) == {
        (0, 1): pytest.approx(0.2)
    }
    assert find_cycles(2, [(0, 1, 0.5), (1, 0, 0.5)]) == []


def test_nothing_has_no_cycle() -> None:
    assert find_cycles(0, []) == find_cycles(3, []) == []


@SLOW_MACHINES
@given(comparisons)
def test_a_witness_is_a_cycle_and_the_rest_has_an_order(made: list[Comparison]) -> None:
    margins = average_margins(made)
    cycles = find_cycles(7, made)
    inside = [set(cycle.members) for cycle in cycles]
    for cycle in cycles:
        assert set(cycle.witness) <= set(cycle.members) and len(cycle.witness) >= 3
        ring = zip(cycle.witness, [*cycle.witness[1:], cycle.witness[0]], strict=True)
        assert all(margins.get((i, j), 0) > 0 or margins.get((j, i), 0) < 0 for i, j in ring)
    rest = [(i, j, d) for (i, j), d in margins.items() if not any({i, j} <= one for one in inside)]
    assert find_cycles(7, rest) == []
    assert not any(
        {pair.winner, pair.loser} <= one
        for pair in select_pairs(fit_least_squares(7, made * 20))
        for one in inside
    )


@SLOW_MACHINES
@given(st.permutations(range(6)), st.data())
def test_an_order_has_no_cycle(order: list[int], data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.sampled_from(list(combinations(range(6), 2)))))
    made = [(i, j, 1.0 if order[i] < order[j] else -1.0) for i, j in pairs]
    assert find_cycles(6, made) == []


@pytest.mark.realdata
def test_people_who_compared_four_answers_made_no_cycle(realdata: Path) -> None:
    margin_of = {0: 0.0, 1: 1.0, 2: -1.0}
    with gzip.open(realdata / "finegrained_qa_dev.jsonl.gz", "rt") as lines:
        groups = [json.loads(line)["preference"] for line in lines]
    assert len(groups) == 500
    for group in groups:
        made = [(i, j, margin_of[said])
                for (i, j), said in zip(combinations(range(4), 2), group, strict=True)]  # fmt: skip
        assert find_cycles(4, made) == []
