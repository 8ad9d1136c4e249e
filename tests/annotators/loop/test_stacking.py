"""Voices read by the light of gold: correlation is measured and paid for, noise weighs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.calibration import measure_ece
from annotators.loop.jury import JuryNoBetterThanChance, check_jury, warn_of_jury, weigh_judges
from annotators.loop.stacking import (
    TooLittleGold,
    count_effective,
    discount,
    fit_reading,
    measure_errors,
)
from benchmarks.loop.noise import ask_judges

VOICES = ["one", "two", "three"]


def draw(
    seed: int, n: int, accuracy: float = 0.75, correlation: float = 0.3
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.5
    said = ask_judges(truth, (accuracy,) * 3, correlation, generator)
    return said, truth.astype(float), [f"p{place // 2}" for place in range(n)]


def test_simulated_judges_err_as_stated() -> None:
    said, truth, _ = draw(0, 100_000)
    assert (said == truth[:, None]).mean(axis=0) == pytest.approx([0.75] * 3, abs=0.01)
    errors = measure_errors(said, truth)
    assert errors[np.triu_indices(3, 1)] == pytest.approx([0.3] * 3, abs=0.015)


def test_correlated_judges_are_read_with_less_trust_and_calibrated() -> None:
    said, truth, prompts = draw(1, 600)
    found = fit_reading(VOICES, said, truth, prompts)
    assert (found.prior < 0.75).all() and (found.weights < 0.9).all()
    fresh, real, _ = draw(2, 40_000)
    alone = found.predict_independent(fresh)
    read = found.predict(fresh)
    assert measure_ece(read, real) < 0.03  # type: ignore[operator]
    assert measure_ece(alone, real) > 2 * measure_ece(read, real)  # type: ignore[operator]
    assert found.log_loss < found.log_loss_independent


def test_independent_judges_are_added_up() -> None:
    said, truth, prompts = draw(3, 2_000, correlation=0.0)
    found = fit_reading(VOICES, said, truth, prompts)
    assert found.weights == pytest.approx([1, 1, 1], abs=0.15)


@settings(max_examples=15)
@given(st.integers(0, 1_000), st.lists(st.booleans(), min_size=120, max_size=120))
def test_turning_pairs_round_turns_their_probabilities(seed: int, turned: list[bool]) -> None:
    said, truth, prompts = draw(seed, 120)
    turn = np.array(turned)
    other = np.where(turn[:, None], 1 - said, said), np.where(turn, 1 - truth, truth)
    one, two = fit_reading(VOICES, said, truth, prompts), fit_reading(VOICES, *other, prompts)
    assert two.weights == pytest.approx(one.weights, abs=1e-4)
    p = one.predict(said)
    assert two.predict(other[0]) == pytest.approx(np.where(turn, 1 - p, p), abs=1e-4)


def test_a_voice_that_is_silent_or_a_coin_changes_nothing_much() -> None:
    said, truth, prompts = draw(4, 1_000)
    coin = (np.random.default_rng(9).random(1_000) < 0.5).astype(float)
    more = np.column_stack([said, np.full(1_000, np.nan), coin])
    found = fit_reading([*VOICES, "mute", "coin"], more, truth, prompts)
    plain = fit_reading(VOICES, said, truth, prompts)
    assert np.abs(found.predict(more) - plain.predict(said)).max() < 0.06
    assert found.n.tolist() == [1_000] * 3 + [0, 1_000] and np.isnan(found.accuracy[3])


def test_too_little_gold_says_how_much_is_missing() -> None:
    said, truth, prompts = draw(5, 30)
    with pytest.raises(TooLittleGold, match="label 20 more pairs"):
        fit_reading(VOICES, said, truth, prompts)
    with pytest.raises(TooLittleGold, match="of 1 prompts"):
        fit_reading(VOICES, *draw(5, 80)[:2], ["the same"] * 80)
    with pytest.raises(TooLittleGold, match="0 gold pairs"):
        fit_reading(VOICES, np.zeros((0, 3)), np.zeros(0), [])


def test_judges_of_one_mind_are_worth_one_judge() -> None:
    said, truth, prompts = draw(6, 400)
    same = np.repeat(said[:, :1], 3, axis=1)
    errors = measure_errors(same, truth)
    assert count_effective(errors) == pytest.approx(1.0)
    assert discount(errors) == pytest.approx([1 / 3] * 3)
    found = fit_reading(VOICES, same, truth, prompts)
    right = (said[:, 0] == truth).mean()
    assert found.predict(same).max() == pytest.approx(right, abs=0.02)
    report = weigh_judges(VOICES, same, truth, prompts)
    assert not any(judge.adds for judge in report.judges)
    assert "not shown to add anything" in report.sentences[-1]


def test_what_is_not_known_of_errors_is_no_number() -> None:
    truth = np.r_[np.ones(50), np.zeros(50)]
    never = np.column_stack([truth, 1 - truth, np.full(100, np.nan)])
    errors = measure_errors(never, truth)
    assert np.isnan(errors[np.triu_indices(3, 1)]).all()
    assert discount(errors).tolist() == [1, 1, 1] and count_effective(errors) == 3.0


def test_three_independent_judges_each_add() -> None:
    said, truth, prompts = draw(7, 2_000, correlation=0.0)
    report = weigh_judges(VOICES, said, truth, prompts)
    assert all(judge.adds for judge in report.judges)
    assert report.effective == pytest.approx(3.0, abs=0.3)
    assert report.low < report.majority < report.high


def test_a_jury_worse_than_chance_stops_before_it_spends() -> None:
    said, truth, _ = draw(8, 200)
    check_jury(said, truth)
    with pytest.raises(JuryNoBetterThanChance, match="nothing was spent"):
        check_jury(1 - said, truth)
    check_jury(1 - said[:20], truth[:20])
    check_jury(np.full((200, 3), np.nan), truth)


def test_a_voice_that_errs_more_often_than_not_weighs_nothing() -> None:
    """Neither does it speak for the contrary, nor take from those that it errs with."""
    said, truth, prompts = draw(9, 400)
    poor = np.where(np.random.default_rng(0).random(400) < 0.6, 1 - truth, said[:, 0])
    found = fit_reading([*VOICES, "poor"], np.column_stack([said, poor]), truth, prompts)
    plain = fit_reading(VOICES, said, truth, prompts)
    assert found.accuracy[3] < 0.4 and found.weights[3] == 0
    assert found.weights[:3] == pytest.approx(plain.weights)
    assert found.held_out == pytest.approx(plain.held_out)


def test_poor_opinions_are_named_and_no_reason_to_stop() -> None:
    said, truth, _ = draw(10, 200)
    names = ["import:gpt/j0", "import:gpt/j1", "import:other/j2"]
    assert warn_of_jury(names, said, truth) is None
    one = np.column_stack([said[:, 0], np.full(200, np.nan), 1 - said[:, 2]])
    told = warn_of_jury(names, one, truth)
    shares = [
        f"{name} {(row == truth).mean():.1%} of 200 pairs"
        for name, row in (("import:gpt/j0", one[:, 0]), ("import:other/j2", one[:, 2]))
    ]
    assert told is not None and all(share in told for share in shares)
    assert "). import:other/j2: no better than a coin" in told and "(other)" in told
    assert "(gpt" not in told and "take another judge" not in told
    own = warn_of_jury(["pairwise:m"], 1 - said[:, :1], truth)
    assert own is not None and "take another judge" in own and "imported" not in own
    mute = warn_of_jury(names, np.full((200, 3), np.nan), truth)
    assert mute is None and warn_of_jury([], np.zeros((200, 0)), truth) is None
