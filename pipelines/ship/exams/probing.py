"""The fixed small reward model that stands for a data set: the same for every version, quick, and
the same again whenever it is asked.

It is linear in the sentence vector of a response (`annotators.probe`), learned from the pairs of
the train side, and cannot see the prompt. It is no model to train a policy by: what it is for is
comparing data, with everything but the data held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from annotators.probe import fit_probe
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.vectors import embed_missing, read_vectors
from pipelines.ship.exams.intervals import Array
from pipelines.ship.exams.items import Item
from schemas.ids import make_fingerprint, make_seed

STAGE = "exam"
MOST_TAUGHT = 4_000
"""Pairs that a probe learns from at most, by hash: more would change little and cost embedding."""
LEAST_TAUGHT = 8
Reward = Callable[[Sequence[Item]], list[Array]]
"""Items -> the rewards of each one's responses."""


@dataclass(frozen=True)
class Lessons:
    """Pairs to learn from: the texts preferred and those rejected, in an order that a longer list
    of the same pairs would keep (so that subsets nest). `of` is how many there were to take them
    from: more than they are where `MOST_TAUGHT` bit."""

    name: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    of: int

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def content_hash(self) -> str:
        """What a probe of these pairs depends on."""
        return make_fingerprint(
            [list(pair) for pair in zip(self.chosen, self.rejected, strict=True)]
        )


def make_lessons(name: str, rows: pl.DataFrame, seed: int) -> Lessons:
    """The pairs of `draw_lessons`."""
    taken = draw_lessons(rows, seed)
    return Lessons(name, tuple(taken["chosen"]), tuple(taken["rejected"]), len(rows))


def draw_lessons(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """At most `MOST_TAUGHT` pairs, those first whose key comes first by hash.

    Args:
        rows: key, chosen, rejected (texts); other columns stay.
    """
    place = pl.col("key").map_elements(lambda key: make_seed("exam", seed, key), pl.Int64)
    return rows.sort(place, "key").head(MOST_TAUGHT)


def embed(lake: Lake, run: Run, texts: Sequence[str]) -> dict[str, Array]:
    """The vector of each text; those that the lake has are not made again."""
    wanted = sorted(set(texts))
    made = embed_missing(lake, run, STAGE, wanted)
    if made:
        run.tell(f"exam: {made} texts embedded")
    vectors, _ = read_vectors(lake, wanted)
    return dict(zip(wanted, vectors.astype(np.float64), strict=True))


def stack_differences(vectors: dict[str, Array], lessons: Lessons) -> Array:
    """(pairs, dimensions): the vector of each preferred text less that of the rejected one."""
    if not len(lessons):
        return np.zeros((0, 0))
    return np.stack([vectors[text] for text in lessons.chosen]) - np.stack(
        [vectors[text] for text in lessons.rejected]
    )


def learn(apart: Array) -> Array:
    """The weights of the probe that pairs teach, from `stack_differences` or some rows of it."""
    return fit_probe(apart, np.ones(len(apart), dtype=bool))


def reward_with(weights: Array, vectors: dict[str, Array]) -> Reward:
    """The rewards that a probe gives; rounded, so that equal texts and machines agree."""

    def reward(items: Sequence[Item]) -> list[Array]:
        return [
            np.round(np.stack([vectors[text] for text in item.responses]) @ weights, 9)
            for item in items
        ]

    return reward


def reward_length(items: Sequence[Item]) -> list[Array]:
    """The number of characters, as if it were a reward."""
    return [np.asarray([len(text) for text in item.responses], dtype=float) for item in items]


def list_texts(items: Sequence[Item]) -> list[str]:
    """All responses, and what chains of steps are so far at each step."""
    whole = [text for item in items for text in item.responses]
    return whole + [text for item in items for chain in item.chains for text in chain.trace()]
