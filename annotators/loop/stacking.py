"""Reading the jury by the light of gold: the probability of each label from all that speaks.

Every voice (the label a pair came with, each judge, the reward models) is told in log odds: what it
alone, calibrated on gold, would make of the pair. Voices that err independently may simply be added
up. Judges do not: so the sum is weighted,

    P(first is better) = sigma(sum_k w_k v_k),

and the w are fitted on the gold that teaches, by logistic regression with a normal prior around

    w0_k = 1 / (1 + sum over j of max(0, rho_kj)),

rho the measured correlation of the errors of voices k and j (phi, against gold). A voice that errs
like nobody else counts in full; three judges of one mind count as one. With much gold the fit
forgets the prior, with little it stays there. How strong the prior is is chosen by held-out loss.
There is no intercept: which response is called first is chance. A voice that errs more often than
not weighs nought, and never speaks for the contrary of what it says.

What stands against it: independence (all w = 1) and Dawid-Skene (`annotators.consensus`), both of
which are too sure of judges that err together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from annotators.calibration import Platt, fit_platt, mirror_pairs
from annotators.probe import FOLDS, fold_prompts
from schemas.errors import AssayError

Array = NDArray[np.float64]
LEAST_GOLD = 50
LEAST_HEARD = 20  # gold pairs that a voice must have spoken on to be measured
STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)
STEPS = 30


class TooLittleGold(AssayError):
    """Too few gold pairs, or of too few prompts, to weigh the voices by."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What `fit_reading` found.

    Attributes:
        voices: names.
        maps: of each voice, from its probability to calibrated log odds.
        weights, prior: w and w0 (voices).
        strength: of the prior: its precision, in units of a label's information.
        errors: (voices, voices) correlation of errors on gold; NaN where it is not known.
        accuracy, n: of each voice on the gold pairs that it spoke on; a tie is half right.
        held_out: (gold) probabilities by readings that saw no pair of the same prompt.
        log_loss: of `held_out`, in nats; `log_loss_independent` of the plain sum, held out too.
    """

    voices: tuple[str, ...]
    maps: tuple[Platt, ...]
    weights: Array
    prior: Array
    strength: float
    errors: Array
    accuracy: Array
    n: NDArray[np.int64]
    held_out: Array
    log_loss: float
    log_loss_independent: float

    def predict(self, said: ArrayLike) -> Array:
        """The probability that the first response of each pair is better: (pairs)."""
        return expit(_tell(said, self.maps) @ self.weights)

    def predict_independent(self, said: ArrayLike) -> Array:
        """The same as if no two voices erred together: for comparison."""
        return expit(_tell(said, self.maps).sum(axis=1))

    def tell(self, said: ArrayLike) -> Array:
        """What each voice adds, in log odds: (pairs, voices)."""
        return _tell(said, self.maps) * self.weights


def fit_reading(
    voices: Sequence[str],
    said: ArrayLike,
    truth: ArrayLike,
    prompts: Sequence[str],
    *,
    seed: int = 0,
) -> Reading:
    """Weigh the voices on the gold that teaches (see the module).

    Reward models among the voices must be cross-fitted: what one says of a pair must come from one
    that saw no label of its prompt.

    Args:
        voices: a name a column of `said`.
        said: (gold, voices) the probability that the voice gives the first response; 0, 0.5 or 1
            for bare verdicts, NaN where it is silent.
        truth: (gold) 1 where the first is better, 0 where it is not, 0.5 a tie.
        prompts: (gold) which prompt a pair belongs to.
        seed: of the folds.

    Raises:
        TooLittleGold: fewer than `LEAST_GOLD` pairs, or all of one fold of prompts.
    """
    spoken, target = _check(voices, said, truth, prompts)
    folds = fold_prompts(prompts, seed)
    if len(target) < LEAST_GOLD or len(np.unique(folds)) < 2:
        raise TooLittleGold(
            f"{len(target)} gold pairs of {len(set(prompts))} prompts are too few to weigh "
            f"{len(voices)} voices by, which takes {LEAST_GOLD} of {2 * FOLDS} prompts at least: "
            f"label {max(LEAST_GOLD - len(target), 1)} more pairs of other prompts"
        )
    losses = np.zeros(len(STRENGTHS))
    held = np.zeros((len(STRENGTHS), len(target)))
    plain = np.zeros(len(target))
    for fold in np.unique(folds):
        out = folds == fold
        maps = _calibrate(spoken[~out], target[~out])
        told = _tell(spoken, maps)
        rest = _discount(measure_errors(spoken[~out], target[~out]), maps)
        plain[out] = told[out].sum(axis=1)
        for at, strength in enumerate(STRENGTHS):
            held[at, out] = told[out] @ _fit(told[~out], target[~out], rest, strength)
    losses = np.array([_lose(row, target) for row in held])
    best = int(losses.argmin())
    errors = measure_errors(spoken, target)
    maps = _calibrate(spoken, target)
    prior = _discount(errors, maps)
    right = (1 + np.sign(spoken - 0.5) * np.sign(target - 0.5)[:, None]) / 2
    heard = ~np.isnan(spoken)
    return Reading(
        voices=tuple(voices),
        maps=maps,
        weights=_fit(_tell(spoken, maps), target, prior, STRENGTHS[best]),
        prior=prior,
        strength=STRENGTHS[best],
        errors=errors,
        accuracy=np.array([right[heard[:, k], k].mean() if heard[:, k].any() else np.nan
                           for k in range(len(voices))]),
        n=heard.sum(axis=0),
        held_out=expit(held[best]),
        log_loss=float(losses[best]),
        log_loss_independent=_lose(plain, target),
    )  # fmt: skip


def measure_errors(said: ArrayLike, truth: ArrayLike) -> Array:
    """The correlation of every two voices' errors (phi) on the gold that both spoke on: (voices,
    voices), ones on the diagonal. An error is a verdict against gold; a tie is half of one, and so
    is any verdict where gold is a tie. NaN where one of them errs always or never."""
    spoken, target = np.asarray(said, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    lean = np.sign(spoken - 0.5)
    wrong = (1 - lean * np.sign(target - 0.5)[:, None]) / 2
    count = spoken.shape[1]
    found = np.eye(count)
    for one in range(count):
        for other in range(one):
            both = ~np.isnan(spoken[:, one]) & ~np.isnan(spoken[:, other])
            a, b = wrong[both, one], wrong[both, other]
            spread = a.std() * b.std() if both.any() else 0.0
            phi = ((a * b).mean() - a.mean() * b.mean()) / spread if spread > 0 else np.nan
            found[one, other] = found[other, one] = phi
    return found


def discount(errors: Array) -> Array:
    """w0: how much of each voice counts, from 1 (errs like nobody else) to 1 / voices (all err
    alike). What is not known is taken to be independent."""
    shared = np.where(np.isnan(errors), 0.0, np.clip(errors, 0.0, 1.0))
    np.fill_diagonal(shared, 0.0)
    return 1 / (1 + shared.sum(axis=1))


def count_effective(errors: Array) -> float:
    """How many independent judges they are worth: K / (1 + (K - 1) mean rho), the design effect of
    Kish (1965) for means; K where they err independently, 1 where they err as one."""
    count = len(errors)
    if count < 2:
        return float(count)
    shared = np.clip(errors[np.triu_indices(count, 1)], 0.0, 1.0)
    mean = float(np.nanmean(shared)) if (~np.isnan(shared)).any() else 0.0
    return count / (1 + (count - 1) * mean)


def _check(
    voices: Sequence[str], said: ArrayLike, truth: ArrayLike, prompts: Sequence[str]
) -> tuple[Array, Array]:
    spoken, target = np.asarray(said, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    shape = (len(target), len(voices))
    if spoken.shape != shape or len(prompts) != len(target):
        raise ValueError(f"said is {spoken.shape} for {shape[1]} voices, {shape[0]} truths and "
                         f"{len(prompts)} prompts")  # fmt: skip
    if not np.isin(target, (0.0, 0.5, 1.0)).all():
        raise ValueError("the truth of a gold pair is 0, 0.5 or 1")
    return spoken, target


def _calibrate(said: Array, truth: Array) -> tuple[Platt, ...]:
    maps = []
    for column in said.T:
        heard = ~np.isnan(column)
        found = fit_platt(*mirror_pairs(column[heard], truth[heard]))
        maps.append(found if found.slope > 0 else Platt(0.0, 0.0, found.n))
    return tuple(maps)


def _discount(errors: Array, maps: Sequence[Platt]) -> Array:
    """w0 where voices that weigh nought take nothing from the others."""
    silent = np.array([each.slope == 0 for each in maps], dtype=bool)
    shared = np.where(silent[:, None] | silent, np.nan, errors)
    return np.where(silent, 0.0, discount(shared))


def _tell(said: ArrayLike, maps: Sequence[Platt]) -> Array:
    """Calibrated log odds, nought where a voice is silent. (A mirrored fit has no intercept.)"""
    spoken = np.asarray(said, dtype=np.float64)
    filled = np.where(np.isnan(spoken), 0.5, spoken)
    columns = [each.apply(column) for each, column in zip(maps, filled.T, strict=True)]
    p = np.stack(columns, axis=1) if columns else np.zeros((len(spoken), 0))
    held = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(held / (1 - held))


def _fit(told: Array, truth: Array, prior: Array, strength: float) -> Array:
    """Newton's method; the loss is convex, and the prior makes it strictly so."""
    weights = prior.copy()
    for _ in range(STEPS):
        p = expit(told @ weights)
        slope = told.T @ (truth - p) - strength * (weights - prior)
        bend = (told * (p * (1 - p))[:, None]).T @ told + strength * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        size, before = 1.0, _lose_all(told, truth, prior, strength, weights)
        while _lose_all(told, truth, prior, strength, weights + size * step) > before + 1e-12:
            size /= 2
            if size < 1e-6:
                break
        weights = weights + size * step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return weights


def _lose_all(told: Array, truth: Array, prior: Array, strength: float, weights: Array) -> float:
    pull = strength / 2 * ((weights - prior) ** 2).sum()
    return _lose(told @ weights, truth) * len(truth) + float(pull)


def _lose(z: Array, truth: Array) -> float:
    return float((np.logaddexp(0.0, z) - truth * z).mean())
