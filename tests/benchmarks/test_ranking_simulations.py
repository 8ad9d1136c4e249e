"""The table of topologies: how well each way of ranking a group finds its true order."""

from __future__ import annotations

import pytest

from benchmarks.ranking import SIZES, STRONG, TARGETS, WEAK, Judge, find_target, measure_spearman

BRACKETS = ("anchor", "swiss", "double", "seeded")


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("judge", [WEAK, STRONG], ids=lambda judge: judge.name)
def test_every_topology_ranks_as_well_as_its_target(n: int, judge: Judge) -> None:
    """The targets are a simulation of 2 decimals by a judge that is not known in full: to its own
    noise two hundredths are added."""
    found = measure_spearman(n, judge, groups=200)
    assert found.keys() == TARGETS.keys()
    for name, (spearman, error) in found.items():
        assert spearman == pytest.approx(find_target(name, n, judge), abs=0.02 + 3 * error), name
    mean = {name: spearman for name, (spearman, _) in found.items()}
    best_bracket = max(mean[name] for name in BRACKETS)
    assert best_bracket + 0.02 < mean["round_robin"] < mean["least squares, all pairs"]
    assert best_bracket < mean["least squares, random"]  # with as many comparisons as `seeded`
