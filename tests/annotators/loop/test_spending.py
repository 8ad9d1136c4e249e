"""The next label goes where it is expected to turn something, and no purse is overdrawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from annotators.loop.spending import Source, expect_gain, spend


@given(st.floats(-6, 6), st.floats(0, 6))
def test_gain_is_what_counting_both_answers_gives(z: float, w: float) -> None:
    p, a = expit(z), expit(w)
    says_first = p * a + (1 - p) * (1 - a)
    after = says_first * expit(-abs(z + w)) + (1 - says_first) * expit(-abs(z - w))
    assert expect_gain(z, w) == pytest.approx(expit(-abs(z)) - after, abs=1e-9)
    assert expect_gain(z, w) >= 0


def test_people_for_the_unsure_and_the_often_repeated() -> None:
    z = np.array([0.0, 3.0, -0.2, 6.0, 0.1])
    people = Source("people", 4.0, 2.0)
    chosen = spend(z, (people,), {"people": 1.0})
    assert chosen["place"].to_list() == [0, 4]
    copies = spend(z, (people,), {"people": 1.0}, rows=[1, 1, 9, 1, 1])
    assert copies["place"].to_list() == [2, 0]
    dear = spend(z, (people,), {"people": [2.0, 1.0, 1.0, 1.0, 1.0]})
    assert dear["place"].to_list() == [4, 2]


def test_each_source_has_its_purse_and_a_pair_is_asked_about_once() -> None:
    z = np.linspace(-3, 3, 50)
    sources = (Source("people", 4.0, 5.0), Source("jury", 1.0, 0.3))
    chosen = spend(z, sources, {"people": 1.0, "jury": 0.02})
    assert chosen["place"].is_unique().all()
    totals = {
        name: chosen.filter(chosen["by"] == name)["cost"].sum() for name in ("people", "jury")
    }
    assert totals["people"] <= 5.0 and totals["jury"] <= 0.3 + 1e-9
    asked = chosen.filter(chosen["by"] == "jury")["place"].to_numpy()
    assert (np.abs(z[asked]) < 1.0).all(), "a jury is not asked what it cannot turn"


def test_empty_purses_and_certain_labels_buy_nothing() -> None:
    z = np.zeros(3)
    assert len(spend(z, (Source("people", 4.0, 0.0),), {"people": 1.0})) == 0
    assert len(spend(z + 9, (Source("people", 4.0, 9.0),), {"people": 1.0})) == 0
    assert len(spend(z[:0], (Source("people", 4.0, 9.0),), {"people": 1.0})) == 0
    assert len(spend(z, (), {})) == 0
    with pytest.raises(ValueError, match="costs more than nothing"):
        spend(z, (Source("people", 4.0, 1.0),), {"people": 0.0})
