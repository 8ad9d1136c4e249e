"""What a label's probability teaches, by each way to read it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.label_reading import Lessons, read_labels
from annotators.probe import fit_probe

labels = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.85, 1.0]), st.floats(0, 4)), min_size=1, max_size=6
)


def read(how, drawn) -> Lessons:
    q, weight = np.array(drawn).T
    return read_labels(how, q, weight, 2 * q - 1)


@given(labels)
def test_a_tie_pulls_both_ways_alike_however_it_is_read(drawn) -> None:
    ties = np.array([q == 0.5 for q, _ in drawn])
    for how in ("margin", "soft", "weighted"):
        found = read(how, drawn)
        assert np.array_equal(found.p_chosen[ties], np.full(ties.sum(), 0.5))
        assert np.array_equal(found.margins[ties], np.zeros(ties.sum()))


@given(labels)
def test_a_certain_label_says_the_same_softly_and_by_weight(drawn) -> None:
    certain = [(1.0, weight) for _, weight in drawn]
    soft, weighted = read("soft", certain), read("weighted", certain)
    assert np.array_equal(soft.p_chosen, weighted.p_chosen)
    assert np.array_equal(soft.weights, weighted.weights)
    assert read("margin", certain).margins.tolist() == [1.0] * len(drawn)


def test_each_reading_in_figures() -> None:
    drawn = [(0.8, 2.0), (0.5, 3.0)]
    margin, soft, weighted = (read(how, drawn) for how in ("margin", "soft", "weighted"))
    assert margin.p_chosen.tolist() == [1.0, 0.5]
    assert margin.margins == pytest.approx([0.6, 0.0])
    assert margin.weights.tolist() == [2.0, 3.0]
    assert (soft.p_chosen.tolist(), soft.margins.tolist()) == ([0.8, 0.5], [0.0, 0.0])
    assert weighted.weights == pytest.approx([1.2, 0.0])
    assert weighted.margins.tolist() == [0.0, 0.0]


def test_a_soft_label_is_what_the_probe_learns_to_say() -> None:
    found = read("soft", [(0.8, 1.0)] * 50)
    weights = fit_probe(
        np.ones((50, 1)), found.p_chosen, 1e3, weights=found.weights, margins=found.margins
    )
    assert 1 / (1 + np.exp(-weights[0])) == pytest.approx(0.8, abs=1e-4)
