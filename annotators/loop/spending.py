"""Where the next minutes and the next money pay: what one more label of a pair is expected to gain.

With z the log odds of a pair's label under the current models, its label is wrong with probability
e(z) = sigma(-|z|). A further voice of log odds w (a person, or a jury, discounted for what it
shares with the voices heard already) moves z to z + w or z - w, and says the first with probability
p a + (1 - p)(1 - a), p = sigma(z), a = sigma(w). The expected gain is the fall of the error,

    e(z) - E e(z ± w) = max(0, sigma(w) - sigma(|z|)),

so a voice that cannot turn the label gains nothing, however unsure the label is, and a person's
word is worth little where p is near what a person is right. It counts for every row that the label
settles (copies). A gain is divided by the share of the budget that it costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[np.float64]
CHOSEN = {"place": pl.Int64, "by": pl.String, "gain": pl.Float64, "cost": pl.Float64}


@dataclass(frozen=True)
class Source:
    """Somebody to ask: `log_odds` is what its word adds to a pair's log odds (the logit of its
    accuracy, times its discount), `budget` what may be spent on it, in its own unit (minutes,
    money); each source has its own purse."""

    name: str
    log_odds: float
    budget: float


def expect_gain(z: ArrayLike, log_odds: ArrayLike) -> Array:
    """By how much the chance of a wrong label is expected to fall if a voice of these log odds
    speaks: max(0, sigma(w) - sigma(|z|)).

    Args:
        z: current log odds of each pair.
        log_odds: of the voice's being right, 0 or more; one number or one a pair.
    """
    gain: Array = expit(np.asarray(log_odds, float)) - expit(np.abs(np.asarray(z, float)))
    return np.maximum(gain, 0.0)


def spend(
    z: ArrayLike,
    sources: tuple[Source, ...],
    costs: dict[str, ArrayLike],
    *,
    rows: ArrayLike | None = None,
) -> pl.DataFrame:
    """Whom to ask about which pair, greedily, until the purses are empty.

    One asking a pair and round: what is heard changes the models, and with them the next round. A
    pair goes to the source with the greatest gain per share of its purse; greedy filling is within
    one item of the best for one purse, and is not proved for two.

    Args:
        z: (pairs) log odds of the label under the current models.
        sources: whom to ask.
        costs: for each source what a label of each pair costs (one number, or one a pair), above 0.
        rows: how many rows of the pool a pair's label settles; 1 each.

    Returns:
        place (of the pair), by (source), gain (expected rows put right), cost; best first.
    """
    odds = np.asarray(z, dtype=np.float64)
    settled = np.ones(len(odds)) if rows is None else np.asarray(rows, dtype=np.float64)
    gains, prices, rates = [], [], []
    for source in sources:
        price = np.broadcast_to(np.asarray(costs[source.name], dtype=np.float64), odds.shape)
        if not (price > 0).all():
            raise ValueError(f"a label by {source.name} costs more than nothing")
        gain = expect_gain(odds, source.log_odds) * settled
        gains.append(gain)
        prices.append(price)
        rates.append(gain / (price / source.budget) if source.budget > 0 else np.zeros_like(gain))
    rate = np.stack(rates, axis=1).round(12) if sources else np.zeros((len(odds), 0))
    left = [source.budget for source in sources]
    least = [float(price.min(initial=np.inf)) for price in prices]
    order = np.argsort(-rate.ravel(), kind="stable")
    asked = np.zeros(len(odds), dtype=bool)
    found = []
    for cell in order:
        place, at = divmod(int(cell), len(sources))
        broke = all(rest < price for rest, price in zip(left, least, strict=True))
        if rate[place, at] <= 0 or broke:
            break
        price = float(prices[at][place])
        if asked[place] or price > left[at] + 1e-9:
            continue
        asked[place] = True
        left[at] -= price
        found.append((place, sources[at].name, float(gains[at][place]), price))
    return pl.DataFrame(found, schema=CHOSEN, orient="row")
