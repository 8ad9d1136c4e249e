"""Simulated judges whose behaviour is known: what more samples, a softer pick and a filter of
samples do.

`python -m benchmarks.judging_simulations`

Three laws, each printed beside the figure it should reproduce (the targets are simulations too).

1. A perfect judge. The sampler writes answers y ~ N(0, 1) and the truth is t. Taking of k answers
   the one nearest to t leaves E[(y - t)²] ~ 1 / (2 k² f(t)²), f the sampler's density.
2. A judge that is wrong in a way of its own (after 2512.19905, in one dimension; that paper's code
   is not public): the truth is 1, the judge likes answers near 2. The best of k by that judge is
   at first nearer to the truth, then farther: a finite k is best. Picking with the odds
   exp(-(y - 2)² / T) instead is safe at large k.
3. A meta-judge (after DeepSeek-GRM, 2504.02495). A judge's sample gives each of two responses its
   true score, one point apart, plus N(0, 1.9²). Some samples are bad: useless (two scores drawn
   evenly from 1 to 10) or misled (a point ahead for the wrong response). The sums over 16 samples
   decide. A meta-judge sees good samples d standard deviations above bad ones and keeps the better
   half. The model behind the targets is not written down; noise and d were chosen so that the
   first three figures land near theirs. What can be tested is the order of the figures: a sharp
   filter gains much, a poor one little, and one that is poor enough loses to the plain vote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bad = Literal["useless", "misled"]

TRUTH, LIKED = 1.0, 2.0
NOISE = 1.9
SHARP, POOR, POORER = 6.0, 1.3, 0.3
SAMPLES = 16
BATCH = 2**21  # numbers drawn at a time


def main() -> None:
    """Print the simulated figures beside their targets."""
    show("perfect judge, k² x error of the best of k, k = 256 (limit pi, and pi e)")
    for truth, target, limit in ((0.0, 3.07, np.pi), (1.0, 8.43, np.pi * np.e)):
        error = simulate_best(256, truth, truth, 200_000)
        show(f"  truth {truth:g}, limit {limit:.2f}", 256**2 * error, target)
    show("misspecified judge, error of the best of k")
    for k, wanted in (
        (1, 1.98),
        (2, None),
        (4, None),
        (8, 0.45),
        (16, None),
        (64, None),
        (256, 0.99),
    ):
        show(f"  k = {k}", simulate_best(k, TRUTH, LIKED, 100_000), wanted)
    show("  softmax pick, T = 1, k = 64", simulate_softmax(64, 1.0, TRUTH, LIKED, 100_000), 0.44)
    show(f"meta-judge, {SAMPLES} samples, half of them useless: share right")
    show("  plain vote", simulate_filter("useless", 0.5, None), 0.73)
    show(f"  keep half, sharp (d = {SHARP:g})", simulate_filter("useless", 0.5, SHARP), 0.85)
    show(f"  keep half, poor (d = {POOR:g})", simulate_filter("useless", 0.5, POOR), 0.75)
    show(f"meta-judge, {SAMPLES} samples, 30 % of them misled (5): share right")
    show("  plain vote", simulate_filter("misled", 0.3, None), 0.70)
    show(f"  keep half, the same poor one (d = {POOR:g})", simulate_filter("misled", 0.3, POOR))
    show(
        f"  keep half, a poorer one (d = {POORER:g})", simulate_filter("misled", 0.3, POORER), 0.69
    )


def simulate_best(k: int, truth: float, liked: float, runs: int, seed: int = 0) -> float:
    """E[(y - truth)²] of the answer nearest to `liked` among k drawn from N(0, 1)."""
    return _average(k, runs, seed, truth, lambda y: np.abs(y - liked).argmin(axis=1))


def simulate_softmax(
    k: int, temperature: float, truth: float, liked: float, runs: int, seed: int = 0
) -> float:
    """E[(y - truth)²] of an answer picked with the odds exp(-(y - liked)² / temperature)."""
    picker = np.random.default_rng([seed, 1])

    def pick(y: Array) -> NDArray[np.int64]:
        noise = picker.gumbel(size=y.shape)
        return (noise - (y - liked) ** 2 / temperature).argmax(axis=1)

    return _average(k, runs, seed, truth, pick)


def simulate_filter(
    bad: Bad, share: float, d: float | None, runs: int = 60_000, seed: int = 0
) -> float:
    """The share of pairs decided rightly by the summed scores of `SAMPLES` samples, `share` of them
    bad; with `d`, of the half that a meta-judge of that sharpness keeps. A draw is half right."""
    generator = np.random.default_rng(seed)
    shape = (runs, SAMPLES)
    good = np.arange(SAMPLES) >= round(share * SAMPLES)
    ahead = 1.0 + generator.normal(0, NOISE * np.sqrt(2), shape)
    if bad == "useless":
        other = generator.integers(1, 11, shape) - generator.integers(1, 11, shape)
    else:
        other = -1.0 + generator.normal(0, NOISE * np.sqrt(2), shape)
    ahead = np.where(good, ahead, other)
    if d is not None:
        seen = good * d + generator.normal(0, 1, shape)
        kept = np.argsort(-seen, axis=1)[:, : SAMPLES // 2]
        ahead = np.take_along_axis(ahead, kept, axis=1)
    total = ahead.sum(axis=1)
    return float(((total > 0) + (total == 0) / 2).mean())


def show(what: str, found: float | None = None, target: float | None = None) -> None:
    """One line of the report."""
    figure = "" if found is None else f"{found:6.2f}"
    print(f"{what:<58}{figure}" + ("" if target is None else f"   (target {target:.2f})"))


def _average(
    k: int, runs: int, seed: int, truth: float, pick: Callable[[Array], NDArray[np.int64]]
) -> float:
    generator = np.random.default_rng(seed)
    total, done = 0.0, 0
    while done < runs:
        rows = min(BATCH // k + 1, runs - done)
        y = generator.normal(size=(rows, k))
        total += float(((y[np.arange(rows), pick(y)] - truth) ** 2).sum())
        done += rows
    return total / runs


if __name__ == "__main__":
    main()
