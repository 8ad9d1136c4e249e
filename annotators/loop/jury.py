"""What a jury is worth on gold, before money is spent on it: how many independent judges it amounts
to, which judge adds nothing, and whether it is any better than a coin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotators.agreement import Z, count_independent, find_interval
from annotators.loop.stacking import count_effective, fit_reading, measure_errors
from schemas.errors import AssayError

Array = NDArray[np.float64]
CORRELATED = 0.3  # mean error correlation from which the run looks for a judge to spare


class JuryNoBetterThanChance(AssayError):
    """On gold the judges together are right no more often than a coin."""


@dataclass(frozen=True)
class Worth:
    """What a judge adds to all other voices: `gain` in held-out log loss (nats a pair) with its
    95 % interval; `adds` where the whole interval is above nought. `accuracy` is its own, on `n`
    gold pairs."""

    judge: str
    accuracy: float
    n: int
    gain: float
    low: float
    high: float
    adds: bool


@dataclass(frozen=True)
class JuryReport:
    """`correlation` is the mean phi of the judges' errors, `effective` how many independent judges
    they are worth, `majority` the accuracy of their plain majority (a draw is half right) with its
    95 % interval; `sentences` say it to people."""

    judges: tuple[Worth, ...]
    correlation: float | None
    effective: float
    majority: float
    low: float
    high: float
    sentences: tuple[str, ...]


def weigh_judges(
    judges: Sequence[str],
    said: ArrayLike,
    truth: ArrayLike,
    prompts: Sequence[str],
    *,
    others: ArrayLike | None = None,
    seed: int = 0,
) -> JuryReport:
    """Measure a jury on the gold that teaches.

    Args:
        judges: a name a column of `said`.
        said: (gold, judges), see `annotators.loop.stacking.fit_reading`.
        truth, prompts: (gold).
        others: (gold, voices) what else speaks: the label it came with, a reward model taught by
            gold alone. What the judges taught is none of them.
        seed: of the folds.

    Raises:
        TooLittleGold: see `fit_reading`.
    """
    spoken, target = np.asarray(said, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    beside = np.zeros((len(target), 0)) if others is None else np.asarray(others, dtype=np.float64)
    names = [f"other {place}" for place in range(beside.shape[1])]
    every = np.hstack([spoken, beside])
    full = _lose(fit_reading([*judges, *names], every, target, prompts, seed=seed).held_out, target)
    found = []
    for place, judge in enumerate(judges):
        rest = [*judges[:place], *judges[place + 1 :], *names]
        less = np.delete(every, place, axis=1)
        without = _lose(fit_reading(rest, less, target, prompts, seed=seed).held_out, target)
        gain = without - full
        half = Z * gain.std(ddof=1) / np.sqrt(count_independent(gain, prompts))
        heard = ~np.isnan(spoken[:, place])
        accuracy = _mark(spoken[heard, place], target[heard])
        found.append(Worth(judge, float(accuracy.mean()) if heard.any() else float("nan"),
                           int(heard.sum()), float(gain.mean()), float(gain.mean() - half),
                           float(gain.mean() + half), bool(gain.mean() - half > 0)))  # fmt: skip
    errors = measure_errors(spoken, target)
    pairs = errors[np.triu_indices(len(judges), 1)]
    known = pairs[~np.isnan(pairs)]
    correlation = float(known.mean()) if len(known) else None
    marks = _mark(vote_plainly(spoken), target)
    majority = float(marks.mean())
    low, high = find_interval(majority, count_independent(marks, prompts))
    effective = count_effective(errors)
    return JuryReport(tuple(found), correlation, effective, majority, low, high,
                      _explain(found, correlation, effective))  # fmt: skip


def warn_of_jury(judges: Sequence[str], said: ArrayLike, truth: ArrayLike) -> str | None:
    """What to tell people of judges that gold shows to be no better than a coin: all of them, how
    often each is right, and which to look at. None where each is better, and so is their majority.

    Recorded opinions cost nothing, and what errs more often than not weighs nought
    (`annotators.loop.stacking`), so this is no reason to stop.

    Args:
        judges: a name a column of `said`; `import:POOL/NAME` of those that were imported.
        said: (gold, judges) NaN where nothing. truth: (gold).
    """
    spoken, target = np.asarray(said, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    heard = ~np.isnan(spoken)
    counts = heard.sum(axis=0)
    shares = [
        float(_mark(column[known], target[known]).mean()) if known.any() else float("nan")
        for column, known in zip(spoken.T, heard.T, strict=True)
    ]
    poor = [judge for judge, share in zip(judges, shares, strict=True) if share <= 0.5]
    asked = heard.any(axis=1)
    together = (
        float(_mark(vote_plainly(spoken[asked]), target[asked]).mean()) if asked.any() else 1.0
    )
    if not poor and together > 0.5:
        return None
    each = ", ".join(f"{judge} {share:.1%} of {n} pairs"
                     for judge, share, n in zip(judges, shares, counts, strict=True))  # fmt: skip
    told = f"on gold the majority of the judges is right {together:.1%} of the time ({each})"
    if not poor:
        return f"{told}: no better than a coin, so that each judge weighs little"
    imports = {judge.removeprefix("import:").split("/")[0] for judge in poor
               if judge.startswith("import:")}  # fmt: skip
    mends = ["look whether A and B are swapped there"]
    if imports:
        mends.append(f"leave out what was imported of them ({', '.join(sorted(imports))})")
    if any(not judge.startswith("import:") for judge in poor):
        mends.append("take another judge")
    return (
        f"{told}. {', '.join(poor)}: no better than a coin, and of little or no weight. "
        f"{mends[0][0].upper()}{mends[0][1:]}; else {' or '.join(mends[1:])}"
    )


def check_jury(said: ArrayLike, truth: ArrayLike, least: int = 30) -> None:
    """Stop before money is spent on a jury that gold shows to be no better than a coin.

    Args:
        said: (gold, judges) what the judges said of gold pairs, NaN where nothing.
        truth: (gold).
        least: gold pairs from which the verdict counts; with fewer nothing is said.

    Raises:
        JuryNoBetterThanChance: the plain majority is right on half of them or less.
    """
    spoken, target = np.asarray(said, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    sided = (target != 0.5) & (~np.isnan(spoken)).any(axis=1)
    if sided.sum() < least:
        return
    right = float(_mark(vote_plainly(spoken[sided]), target[sided]).mean())
    if right <= 0.5:
        n = int(sided.sum())
        low, high = find_interval(right, float(n))
        raise JuryNoBetterThanChance(
            f"on {n} gold pairs the jury is right {right:.1%} of the time (95 %: {low:.1%} to "
            f"{high:.1%}), no better than a coin: nothing was spent on the pool. Look whether the "
            "judge's A and B are swapped, show it gold examples, or take another judge"
        )


def vote_plainly(said: Array) -> Array:
    """The majority of the verdicts of each pair: 1 the first, 0 the second, 0.5 a draw or none."""
    lean = np.nansum(np.sign(said - 0.5), axis=1)
    found: Array = (1 + np.sign(lean)) / 2
    return found


def _mark(said: Array, truth: Array) -> Array:
    lean = np.sign(said - 0.5)
    right: Array = (1 + lean * np.sign(truth - 0.5)) / 2
    return right


def _lose(p: Array, truth: Array) -> Array:
    sure = np.clip(p, 1e-9, 1 - 1e-9)
    loss: Array = -(truth * np.log(sure) + (1 - truth) * np.log(1 - sure))
    return loss


def _explain(
    found: Sequence[Worth], correlation: float | None, effective: float
) -> tuple[str, ...]:
    if correlation is None:
        return ("one judge, or judges that never err apart: error correlation is not known",)
    lines = [f"{len(found)} judges whose errors correlate by {correlation:.2f} are worth "
             f"{effective:.1f} independent ones"]  # fmt: skip
    if correlation > CORRELATED:
        idle = [each.judge for each in found if not each.adds]
        if idle:
            least = min(found, key=lambda each: (each.gain, each.judge)).judge
            lines.append(
                f"{', '.join(idle)}: not shown to add anything to the other voices; {least} adds "
                "least, and is the one to leave out or to replace by another kind of model"
            )
    return tuple(lines)
