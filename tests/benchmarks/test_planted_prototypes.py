"""The planted groups, with fewer seeds than the benchmark."""

from __future__ import annotations

import pytest

from benchmarks.prototypes import SETTINGS, fit_plainly, meet_newcomers, plant_groups, try_planted


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_prototypes_find_planted_groups_that_one_model_cannot_serve(
    setting: str, seed: int
) -> None:
    found = try_planted(plant_groups(*SETTINGS[setting], seed))
    assert found["pooled"] == pytest.approx(0.66, abs=0.04)
    assert found["per user"] == pytest.approx(0.81, abs=0.04)
    assert found["prototypes"] >= 0.95
    assert found["recovered"] == 1.0
    assert found["K"] == 2


def test_a_newcomer_gains_most_from_the_first_opinions() -> None:
    curve = meet_newcomers(*SETTINGS["opposed"])["new people, the side they would take"].to_list()
    assert curve == sorted(curve)
    assert curve[0] < 0.7 and curve[2] > 0.9 and curve[4] > 0.95


def test_hard_memberships_are_no_better_with_many_pairs() -> None:
    planted = plant_groups(*SETTINGS["opposed"], seed=0)
    soft, hard = (fit_plainly(planted, 2, hard) for hard in (False, True))
    assert soft[1] == hard[1] == 1.0
    assert soft[0] == pytest.approx(hard[0], abs=0.01)
