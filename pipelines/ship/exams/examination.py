"""A version that sits an exam: its rows, what probes learn from, its seed and its model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.ship.exam import keep_held_out, make_heading
from pipelines.ship.exams.items import ExamSet
from pipelines.ship.exams.lessons import (
    find_rollouts,
    make_items,
    take_pool,
    take_some,
    take_version,
)
from pipelines.ship.exams.probing import LEAST_TAUGHT, Lessons
from pipelines.ship.exams.scoring import HELD_OUT
from pipelines.ship.export import make_rows
from pipelines.ship.publish import Published
from pipelines.ship.train import TrainedModel
from schemas.errors import AssayError
from schemas.ids import make_fingerprint

MODEL, PROBE, LONGEST, COIN = "reward model", "small probe", "longest answer", "coin"


class TooLittleTaught(AssayError):
    """A version without a model and with too few pairs for a probe; the message says how many."""


@dataclass(frozen=True)
class Examination:
    """A version, ready to be examined: its rows, what probes learn from, its seed, its model."""

    lake: Lake
    run: Run
    version: Published
    seed: int
    model: TrainedModel | None = None

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Its pairs, as they are exported."""
        return make_rows(self.lake, self.version)

    @cached_property
    def held_out(self) -> ExamSet:
        """Its held-out pairs as an exam."""
        used, _ = keep_held_out(self.rows)
        content = make_fingerprint([*used.select("pair_id", "chosen", "rejected").iter_rows()])
        return ExamSet(HELD_OUT, "", tuple(make_items(used)), {}, content)

    @cached_property
    def sources(self) -> list[str]:
        """Who decided the labels of the held-out pairs."""
        return keep_held_out(self.rows)[1]

    @cached_property
    def lessons(self) -> list[Lessons]:
        """What the probes learn from: the version first, then what it is held against."""
        own = take_version(self.version, self.rows, self.seed)
        if len(own) < LEAST_TAUGHT:
            if self.model is None:
                raise TooLittleTaught(
                    f"{own.name}: {len(own)} pairs to learn from, and a probe takes "
                    f"{LEAST_TAUGHT}; publish more, or train a model with `assay train {own.name}`"
                )
            return []
        pool = take_pool(self.lake, self.version, self.seed)
        others = [lessons for lessons in (pool, take_some(pool, own)) if lessons]
        return [replace(own, name=PROBE), *others]

    @cached_property
    def rollouts(self) -> pl.DataFrame:
        """The verified responses to its held-out prompts."""
        return find_rollouts(self.lake, self.version)

    @cached_property
    def content(self) -> list[Any]:
        """All that a result depends on beside the set."""
        model = self.model.model_id if self.model else None
        taught = [[one.name, one.content_hash, one.of] for one in self.lessons]
        scored = make_fingerprint(self.rollouts.iter_rows())
        version = [self.version.name, self.version.version, self.version.fingerprint]
        return [*version, model, taught, scored, self.seed]

    @property
    def main(self) -> str:
        """Whose scores are given in full."""
        return MODEL if self.model else PROBE


def is_trusted(exam: Examination) -> bool:
    """Whether verifiers or people decided the held-out pairs: only then may they gate."""
    return bool(exam.sources) and make_heading(exam.sources) == make_heading(["human"])
