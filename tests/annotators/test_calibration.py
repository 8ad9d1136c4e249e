"""Calibration recovers a planted distortion, survives degenerate gold, and keeps what it fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.calibration import (
    CalibrationUnreadable,
    Isotonic,
    Platt,
    calibration_from_json,
    fit_isotonic,
    fit_platt,
    fold_pairs,
    measure_ece,
    mirror_pairs,
    tabulate_reliability,
)

pairs_of_numbers = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=40
)


def overconfident(n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Raw probabilities whose logit is twice the true one, shifted by one half."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(0, 1.5, n)
    truth = (generator.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    return 1 / (1 + np.exp(-(2 * logit + 0.5))), truth


def test_platt_undoes_what_was_planted() -> None:
    p, truth = overconfident()
    fitted = fit_platt(p, truth)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.25, abs=0.05)
    before, after = measure_ece(p, truth), measure_ece(fitted.apply(p), truth)
    assert before is not None and after is not None
    assert before > 0.08
    assert after < 0.015


def test_isotonic_is_scikit_learns_and_does_better_than_raw() -> None:
    from sklearn.isotonic import IsotonicRegression

    p, truth = overconfident(3_000)
    p = p.round(2)
    ours = fit_isotonic(p, truth)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, truth)
    grid = np.linspace(0, 1, 501)
    assert ours.apply(grid) == pytest.approx(theirs.predict(grid))
    held_p, held_truth = overconfident(5_000, seed=1)
    raw, calibrated = measure_ece(held_p, held_truth), measure_ece(ours.apply(held_p), held_truth)
    assert raw is not None and calibrated is not None
    assert calibrated < raw / 2


@settings(max_examples=60, deadline=None)
@given(pairs_of_numbers)
def test_isotonic_rises_and_keeps_the_mean(rows: list[tuple[float, float]]) -> None:
    p, truth = map(np.array, zip(*rows, strict=True))
    fitted = fit_isotonic(p, truth)
    grid = fitted.apply(np.linspace(0, 1, 101))
    assert (np.diff(grid) >= -1e-12).all()
    assert fitted.apply(p).mean() == pytest.approx(truth.mean())


@settings(max_examples=60, deadline=None)
@given(pairs_of_numbers)
def test_mirrored_gold_treats_both_responses_alike(rows: list[tuple[float, float]]) -> None:
    p, truth = map(np.array, zip(*rows, strict=True))
    grid = np.linspace(0, 1, 21)
    for fit in (fit_platt, fit_isotonic):
        fitted = fit(*mirror_pairs(p, truth))
        assert fitted.apply(grid) == pytest.approx(1 - fitted.apply(1 - grid), abs=1e-6)


def test_little_and_separable_gold_stays_finite() -> None:
    assert fit_platt([], []) == Platt(1.0, 0.0, 0)
    assert fit_isotonic([], []) == Isotonic((), (), 0)
    assert fit_platt([], []).apply([0.2, 0.9]) == pytest.approx([0.2, 0.9])
    assert fit_isotonic([], []).apply([0.2, 0.9]) == pytest.approx([0.2, 0.9])
    separable = fit_platt([0.9] * 500 + [0.1] * 500, [1.0] * 500 + [0.0] * 500)
    assert 1 < separable.slope < 20
    verdicts = fit_platt([1.0, 0.0] * 100, ([1.0, 0.0] * 4 + [0.0, 1.0]) * 20)
    assert verdicts.apply([1.0, 0.5, 0.0]) == pytest.approx([0.8, 0.5, 0.2], abs=0.02)
    one_class = fit_platt([0.7] * 50, [1.0] * 50).apply(0.7)
    assert 0.8 < float(one_class) < 1


@pytest.mark.parametrize("fitted", [Platt(0.5, -0.25, 9), Isotonic((0.1, 0.9), (0.2, 0.8), 9)])
def test_json_round_trip(fitted: Platt | Isotonic) -> None:
    assert calibration_from_json(fitted.to_json()) == fitted


def test_what_cannot_be_read_is_said() -> None:
    for text in ("{}", "[]", "no", '{"method": "platt"}'):
        with pytest.raises(CalibrationUnreadable, match="no calibration can be read"):
            calibration_from_json(text)
    with pytest.raises(CalibrationUnreadable, match="'magic'"):
        calibration_from_json('{"method": "magic"}')
    with pytest.raises(CalibrationUnreadable, match="2 probabilities for 1"):
        fit_platt([0.1, 0.2], [1.0])
    with pytest.raises(CalibrationUnreadable, match=r"probability 1 is 1\.5"):
        fit_isotonic([0.1, 1.5], [1.0, 0.0])
    with pytest.raises(CalibrationUnreadable, match="truth 0 is nan"):
        measure_ece([0.1], [float("nan")])


def test_ece_by_hand() -> None:
    table = tabulate_reliability([0.05, 0.15, 0.95, 1.0], [0.0, 1.0, 1.0, 0.0])
    assert table["low"].to_list() == pytest.approx([0.0, 0.1, 0.9])
    assert table["n"].to_list() == [1, 1, 2]
    assert measure_ece([0.05, 0.15, 0.95, 1.0], [0.0, 1.0, 1.0, 0.0]) == pytest.approx(
        (0.05 + 0.85 + 2 * 0.475) / 4
    )
    assert tabulate_reliability([0.3], [0.0])["low"].to_list() == pytest.approx([0.3])
    assert measure_ece([], []) is None


def test_a_pair_is_told_from_the_favoured_side() -> None:
    p, truth = fold_pairs([0.9, 0.1, 0.5, 0.2], [1.0, 1.0, 1.0, 0.5])
    assert p == pytest.approx([0.9, 0.9, 0.5, 0.8])
    assert truth == pytest.approx([1.0, 0.0, 0.5, 0.5])
