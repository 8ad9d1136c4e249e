"""The one form that the items of every exam have, and how right a reward model is on one.

An item is a prompt, n responses and which of them are right. What counts as right answering
differs by `kind`:

- `best`: the response of the highest reward should be right (a pair is a best of two);
- `pairs`: of each listed pair (right, wrong) the right one should have the higher reward;
- `styles`: three right and three wrong responses in the same three styles, each against each;
- `ties`: every right response should stand above every wrong one.

Equal rewards are nobody's choice: a pair of them counts one half, and a best that several share
counts by the share of them that is right. (The public scripts count such a pair as lost; rewards
that are real numbers are next to never equal.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.ids import make_id

Kind = Literal["best", "pairs", "styles", "ties"]
Array = NDArray[np.float64]
STYLES = 3


@dataclass(frozen=True)
class Chain:
    """A response in steps: their texts, whether each is right (from the first wrong one on none is;
    empty where nobody said), its final answer, and what a generative judge said of it: the chance
    that it is right, sample by sample."""

    steps: tuple[str, ...]
    labels: tuple[bool, ...] = ()
    answer: str | None = None
    judged: tuple[float, ...] = ()

    def trace(self) -> list[str]:
        """What the response is after each of its steps; the last is all of it."""
        return list(accumulate(self.steps, lambda before, step: f"{before}\n\n{step}"))


@dataclass(frozen=True)
class Item:
    """One question of an exam.

    `key` names the row; `right[i]` says whether `responses[i]` is right; `pairs` are places
    (right, wrong) that a `pairs` item compares. `category` is what scores are given by, and
    `subset` the part of it. In a `ties` item `question` names what its reference form (`part`
    `ref`, one right answer) and its tied form (`tied`, several) have in common. A `styles` item
    has its right responses first, both halves from the plainest style to the fanciest. `chains` are
    the responses in steps, where a set has them.
    """

    key: str
    prompt: tuple[Mapping[str, str], ...]
    responses: tuple[str, ...]
    right: tuple[bool, ...]
    category: str
    subset: str
    kind: Kind = "best"
    pairs: tuple[tuple[int, int], ...] = ()
    question: str = ""
    part: str = ""
    chains: tuple[Chain, ...] = ()

    @cached_property
    def prompt_key(self) -> str:
        """What the items of one prompt have in common: they are drawn together."""
        return self.question or make_id("exam prompt", [dict(m) for m in self.prompt])

    def compare(self) -> tuple[tuple[int, int], ...]:
        """The places (right, wrong) of the pairs that the item holds."""
        if self.kind == "pairs":
            return self.pairs
        good = [i for i, right in enumerate(self.right) if right]
        bad = [i for i, right in enumerate(self.right) if not right]
        return tuple((i, j) for i in good for j in bad)


@dataclass(frozen=True)
class ExamSet:
    """The items of one file or data set.

    `name` is the public set's; `place` is where it was read; `unscored` counts by reason the rows
    that ask nothing (they are no wrong answers); `content_hash` follows from the items alone.
    """

    name: str
    place: str
    items: tuple[Item, ...]
    unscored: Mapping[str, int]
    content_hash: str


def win(left: Array | float, right: Array | float) -> Array:
    """1 where the left reward is higher, 0 where the right one is, 0.5 where they are equal."""
    return (1 + np.sign(np.asarray(left, dtype=float) - right)) / 2


def give_credit(item: Item, rewards: Sequence[float] | Array) -> float:
    """How right these rewards (one a response) are on an item, in [0, 1]."""
    scores = np.asarray(rewards, dtype=float)
    right = np.asarray(item.right)
    if item.kind == "best":
        return float(right[scores == scores.max()].mean())
    if item.kind == "ties":
        return float(scores[right].min() > scores[~right].max())
    good, bad = np.asarray(item.compare()).T
    return float(win(scores[good], scores[bad]).mean())


def compare_styles(item: Item, rewards: Sequence[float] | Array) -> Array:
    """(3, 3): how a right response of each style (rows) fares against a wrong one of each
    (columns), from the plainest style to the fanciest."""
    scores = np.asarray(rewards, dtype=float)
    return win(scores[:STYLES, None], scores[None, STYLES:])


def guess(item: Item) -> float:
    """What a coin can expect on an item."""
    right = sum(item.right)
    if item.kind == "best":
        return right / len(item.right)
    if item.kind == "ties":
        from math import comb

        return 1 / comb(len(item.right), right)
    return 0.5
