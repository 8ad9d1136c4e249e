"""Best of n: what choosing by the examined reward buys in truth, as the choice grows (Gao et al.,
Scaling laws for reward model over-optimization).

Of n responses to a prompt the one of the highest reward (the proxy) is taken; its gold (right or
wrong, or a gold score) is what was bought. Drawn are n of a store of scored responses, with
replacement, so that n may exceed the store; the expectation over draws is exact and needs no
drawing: with F_k the share of the store whose reward is at most the k-th smallest, the best of n is
of that reward with the chance F_k^n - F_{k-1}^n. Choosing among n moves the policy by a
Kullback-Leibler divergence of log n - (n - 1) / n nats. Where gold falls while the proxy rises, the
reward is over-optimised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.ship.exams.intervals import Array, draw_counts, quantiles

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LEAST_RESPONSES = 4
LEAST_PROMPTS = 10


@dataclass(frozen=True)
class Store:
    """The scored responses to one prompt, (m,) each: reward, gold, length in characters. Stores of
    the same `prompt` (`Item.prompt_key`) are drawn together."""

    prompt: str
    proxy: Array
    gold: Array
    chars: Array


def expect_best(proxy: Array, values: Array, sizes: Sequence[int] = SIZES) -> Array:
    """(len(sizes),): the mean of `values` of the response with the highest proxy among n drawn with
    replacement. Of equal proxies any is taken alike."""
    levels, group, counts = np.unique(proxy, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=values, minlength=len(levels)) / counts
    reached = np.cumsum(counts) / len(proxy)
    powers = reached[None, :] ** np.asarray(sizes, dtype=float)[:, None]
    chances = np.diff(powers, axis=1, prepend=0.0)
    found: Array = chances @ means
    return found


def find_divergence(n: int) -> float:
    """The Kullback-Leibler divergence of the best of n from the policy, in nats."""
    return float(np.log(n) - (n - 1) / n)


def trace_best_of(stores: Sequence[Store], seed: int) -> dict[str, Any] | None:
    """The curve over `SIZES`, mean over stores, with 95 % intervals over prompts.

    Stores with fewer than `LEAST_RESPONSES` responses are left out.

    Returns:
        prompts, responses (median of a store); points: {n, kl, gold, ci, proxy, gain, chars}
        (`gold` and `chars` of the chosen; `proxy` and `gain` are how far the chosen's reward and
        gold are above the mean response's, in standard deviations among the responses to one
        prompt); peak: {n, low, high} where gold is highest, with the interval of that n; gap:
        `proxy - gain` at the peak; lost: {score, ci}, gold at the peak less gold at the largest n;
        over_optimised: whether that loss is above 0 beyond doubt.
        None with fewer than `LEAST_PROMPTS` prompts, or where reward or gold is the same for all.
    """
    used = [store for store in stores if len(store.proxy) >= LEAST_RESPONSES]
    scales = [_spread([getattr(s, name) for s in used]) for name in ("proxy", "gold")]
    prompts, place = np.unique([store.prompt for store in used], return_inverse=True)
    if len(prompts) < LEAST_PROMPTS or min(scales) <= 0:
        return None
    gold = np.stack([expect_best(s.proxy, s.gold) for s in used])
    chars = np.stack([expect_best(s.proxy, s.chars) for s in used]).mean(0)
    proxy = np.stack([expect_best(s.proxy, s.proxy - s.proxy.mean()) for s in used]).mean(0)
    gain = gold.mean(0) - np.mean([s.gold.mean() for s in used])
    counts = np.bincount(place)
    sums = np.stack([np.bincount(place, weights=column) for column in gold.T], axis=1)
    drawn = np.concatenate(
        [(times @ sums) / (times @ counts)[:, None] for times in draw_counts(len(prompts), seed)]
    )
    mean, best = gold.mean(0), int(gold.mean(0).argmax())
    peaks = np.asarray(SIZES, dtype=float)[drawn.argmax(1)]
    lost = drawn[:, best] - drawn[:, -1]
    risen, bought = proxy / scales[0], gain / scales[1]
    return {
        "prompts": len(prompts),
        "responses": int(np.median([len(s.proxy) for s in used])),
        "points": [
            {
                "n": n,
                "kl": find_divergence(n),
                "gold": float(mean[i]),
                "ci": list(quantiles(drawn[:, i])),
                "proxy": float(risen[i]),
                "gain": float(bought[i]),
                "chars": float(chars[i]),
            }
            for i, n in enumerate(SIZES)
        ],
        "peak": dict(zip(("n", "low", "high"), map(int, (SIZES[best], *quantiles(peaks))),
                         strict=True)),
        "gap": float(risen[best] - bought[best]),
        "lost": {"score": float(mean[best] - mean[-1]), "ci": list(quantiles(lost))},
        "over_optimised": bool(quantiles(lost)[0] > 0),
    }  # fmt: skip


def _spread(columns: Sequence[Array]) -> float:
    """The standard deviation among the responses to one prompt."""
    apart = [values - values.mean() for values in columns]
    return float(np.concatenate(apart).std()) if apart else 0.0
