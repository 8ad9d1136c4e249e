"""What each voice is worth to the reading of a pool: the pool is read without it, and held-out gold
says what that costs.

Left out in turn are the labels that pairs came with, those of each giver, and each judge. Both
probes are taught anew each time. A voice's value is how much more often the reading with it is
right of held-out gold; and how many more labels can be kept at the estimated precision that the
whole reading has at its threshold (`annotators.loop.precision` says how that is estimated). Held
out are the gold that weighs the voices, each prompt read by weights that did not see it, and the
gold of the exam, which taught nothing. Intervals are paired and bootstrapped over prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.loop.reading import LABEL, PoolReading, read_pool
from annotators.marginal import bootstrap_means, draw_clusters, tell_right

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
GIVERS = 12  # at most, those of the most labels
GRID = 100  # shares of the pool at which a precision is estimated
RESAMPLES = 500
LEAST_KEPT = 5.0  # gold pairs that a precision is estimated from
COLUMNS = {
    "voice": pl.String, "what": pl.String, "n": pl.Int64, "accuracy": pl.Float64,
    "value": pl.Float64, "value_low": pl.Float64, "value_high": pl.Float64,
    "kept": pl.Float64, "kept_low": pl.Float64, "kept_high": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pool:
    """A pool to read, as `annotators.loop.reading.read_pool` has it, and `exam`: (pairs) 1, 0 or
    0.5 where the gold of the exam knows, else NaN; no reading sees it. `traits` has `giver`."""

    label: Array
    judges: tuple[str, ...]
    said: Array
    apart: Array
    prompts: tuple[str, ...]
    gold: Array
    traits: pl.DataFrame
    sample: Bools
    exam: Array
    seed: int = 0

    def read(self, label: Array, heard: Sequence[int]) -> PoolReading:
        """The reading of these labels and of those judges."""
        places = list(heard)
        return read_pool(
            label, [self.judges[k] for k in places], self.said[:, places], self.apart,
            self.prompts, self.gold, self.traits, sample=self.sample, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True)
class Silenced:
    """What `silence_voices` found.

    Attributes:
        voices: a row a voice, the most valuable first: voice, what (label, giver or judge), n
            (pairs it speaks on), accuracy (of the reading without it), value (in shares of held-out
            gold) and kept (in shares of the pool, at equal precision), both with `_low` and `_high`
            (95 %).
        held: gold pairs that it is measured on. `exam`: of them those of the exam.
        accuracy: of the whole reading on them. precision, kept: of what it keeps at the threshold,
            estimated, and how much of the pool that is; None where no gold would be kept.
    """

    voices: pl.DataFrame
    held: int
    exam: int
    accuracy: float
    precision: float | None
    kept: float


def silence_voices(pool: Pool, threshold: float) -> Silenced:
    """Read the pool with all voices and without each.

    Args:
        threshold: how sure a label must be to be kept.

    Raises:
        annotators.loop.stacking.TooLittleGold, annotators.probe.NothingToLearn: the pool cannot be
        read.
    """
    every = range(len(pool.judges))
    whole = pool.read(pool.label, every)
    asked = ~np.isnan(pool.exam) & ~whole.is_gold
    held = whole.is_sample | asked
    truth = np.where(asked, pool.exam, pool.gold)[held]
    clusters = [name for name, mine in zip(pool.prompts, held, strict=True) if mine]
    open_ = ~whole.is_gold & ~asked
    times = np.concatenate(
        [np.ones((1, len(set(clusters)))),
         *draw_clusters(len(set(clusters)), pool.seed, RESAMPLES)]
    )[:, np.unique(clusters, return_inverse=True)[1]]  # fmt: skip
    right = tell_right(whole.held_out[held], truth)
    trace = _Trace(whole.held_out[open_], whole.held_out[held], truth, times)
    target = trace.estimate(threshold)
    most = trace.find_share(target)
    rows: list[dict[str, Any]] = []
    gains = []
    for voice, what, label, heard in _leave_out(pool):
        rows.append({"voice": voice, "what": what, "n": _count(pool, label, heard)})
        row = rows[-1]
        less = pool.read(label, heard)
        gains.append(right - tell_right(less.held_out[held], truth))
        row["accuracy"] = float((right - gains[-1]).mean())
        share = _Trace(less.held_out[open_], less.held_out[held], truth, times).find_share(target)
        row |= _span("kept", most - share) if np.isfinite(target[0]) else {}
    found = bootstrap_means(np.array(gains).reshape(-1, len(truth)), clusters, pool.seed)
    for row, *ends in zip(rows, *found, strict=True):
        row |= dict(zip(("value", "value_low", "value_high"), ends, strict=True))
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return Silenced(
        frame.sort("value", "voice", descending=[True, False], nulls_last=True),
        held=len(truth),
        exam=int(asked.sum()),
        accuracy=float(right.mean()),
        precision=float(target[0]) if np.isfinite(target[0]) else None,
        kept=float((_tell_sure(whole.held_out[open_]) >= threshold).mean()) if open_.any() else 0.0,
    )


def _leave_out(pool: Pool) -> Iterator[tuple[str, str, Array, list[int]]]:
    """Each voice, what it is, and the labels and judges without it."""
    every = list(range(len(pool.judges)))
    spoken = ~np.isnan(pool.label)
    givers = pool.traits["giver"].to_numpy()
    names, counts = np.unique(givers[spoken].astype(str), return_counts=True)
    if spoken.any():
        yield LABEL, "label", np.full(len(pool.label), np.nan), every
    if len(names) > 1:
        for at in np.argsort(-counts, kind="stable")[:GIVERS]:
            mine = spoken & (givers == names[at])
            yield str(names[at]), "giver", np.where(mine, np.nan, pool.label), every
    for k, name in enumerate(pool.judges):
        yield name, "judge", pool.label, [other for other in every if other != k]


def _count(pool: Pool, label: Array, heard: Sequence[int]) -> int:
    """The pairs on which what was left out had something to say."""
    gone = [k for k in range(len(pool.judges)) if k not in set(heard)]
    silent = np.isnan(label) & ~np.isnan(pool.label)
    return int(((~np.isnan(pool.said[:, gone])).any(axis=1) | silent).sum())


class _Trace:
    """How precise a reading is by how much of the pool is kept, and by whichever gold is drawn.

    Args of its making:
        p: (pool) what was read of pairs without gold.
        p_held, truth: (held) the same of held-out gold, and what gold says.
        times: (draws, held) how often each gold pair is drawn; the first draw is all of them, once.
    """

    def __init__(self, p: Array, p_held: Array, truth: Array, times: Array) -> None:
        self._sure = np.sort(_tell_sure(p))[::-1]
        self._held, self._times = _tell_sure(p_held), times
        self._off = np.where(p_held > 0.5, truth, 1 - truth) - self._held

    def estimate(self, least: float) -> Array:
        """The precision of what is at least so sure, by draw: (draws); NaN where no gold is."""
        return self._estimate(np.array([(self._sure >= least).sum()]), np.array([least]))[:, 0]

    def find_share(self, target: Array) -> Array:
        """The largest share of the pool (of `GRID`) whose precision is that of `target`, by draw:
        (draws); 0 where none is."""
        if not len(self._sure):
            return np.zeros(len(target))
        counts = np.ceil(np.arange(1, GRID + 1) / GRID * len(self._sure)).astype(int)
        found = self._estimate(counts, self._sure[counts - 1])
        reached = found >= target[:, None] - 1e-12
        last = GRID - np.argmax(reached[:, ::-1], axis=1)
        share: Array = np.where(reached.any(axis=1), last / GRID, 0.0)
        return share

    def _estimate(self, counts: NDArray[np.int64], least: Array) -> Array:
        """(draws, thresholds)."""
        claimed = np.concatenate(
            [[np.nan], np.cumsum(self._sure) / np.arange(1, len(self._sure) + 1)]
        )
        likewise = (self._held[:, None] >= least).astype(float)
        n = self._times @ likewise
        off = (self._times * self._off) @ likewise
        with np.errstate(invalid="ignore", divide="ignore"):
            found = claimed[counts] + np.where(n >= LEAST_KEPT, off / n, np.nan)
        held: Array = np.clip(found, 0.0, 1.0)
        return held


def _tell_sure(p: Array) -> Array:
    sure: Array = np.maximum(p, 1 - p)
    return sure


def _span(name: str, drawn: Array) -> dict[str, float]:
    """The first draw, and the 95 % interval of the others."""
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return {name: float(drawn[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
