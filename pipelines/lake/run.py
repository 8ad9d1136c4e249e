"""What a stage is told (`Run`) and what it tells (`StageSummary`)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.ids import make_id
from schemas.recipe import Recipe


def _say_nothing(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Run:
    """One invocation of Assay.

    `tell` gets a plain line for people; `progress` gets (stage, done, total).
    """

    run_id: str
    recipe_hash: str | None = None
    retry_failed: bool = False
    tell: Callable[[str], None] = _say_nothing
    progress: Callable[[str, int, int], None] = _say_nothing


def new_run(
    recipe: Recipe | None = None,
    *,
    retry_failed: bool = False,
    tell: Callable[[str], None] = _say_nothing,
    progress: Callable[[str, int, int], None] = _say_nothing,
) -> Run:
    """A run with an id of its own (time and process, so two runs never share one)."""
    run_id = make_id("run", time.time_ns(), os.getpid(), list(sys.argv))[:16]
    recipe_hash = recipe.recipe_hash if recipe else None
    return Run(run_id, recipe_hash, retry_failed, tell, progress)


@dataclass(frozen=True)
class StageSummary:
    """What went into a stage and what became of it.

    `rows_in == kept + sum(dropped) + sum(quarantined)`; flipped and to_review are among the kept.
    `extra` holds what one stage alone counts (calls, tokens, remaining work).

    Raises:
        ValueError: the counts do not add up; a stage that loses a row is a bug.
    """

    stage: str
    rows_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    flipped: int = 0
    to_review: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    scope: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        accounted = self.kept + sum(self.dropped.values()) + sum(self.quarantined.values())
        if accounted != self.rows_in:
            raise ValueError(
                f"{self.stage}: {self.rows_in} rows came in and {accounted} are accounted for "
                f"(kept {self.kept}, dropped {dict(self.dropped)}, "
                f"quarantined {dict(self.quarantined)})"
            )

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints and `runs.summary` stores."""
        return {
            "stage": self.stage,
            "rows_in": self.rows_in,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "flipped": self.flipped,
            "to_review": self.to_review,
            "quarantined": dict(self.quarantined),
            "seconds": round(self.seconds, 3),
            "scope": self.scope,
            **self.extra,
        }

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> StageSummary:
        """The summary that `to_json` wrote."""
        names = (
            "stage", "rows_in", "kept", "dropped", "flipped", "to_review", "quarantined",
            "seconds", "scope",
        )  # fmt: skip
        extra = {key: value for key, value in stored.items() if key not in names}
        return StageSummary(**{name: stored[name] for name in names}, extra=extra)


def merge_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The counts of several parts by name, added."""
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def add_summaries(stage: str, parts: Sequence[StageSummary]) -> StageSummary:
    """One summary for several parts or rounds of a stage that makes calls."""
    extra: dict[str, Any] = {
        key: sum(part.extra.get(key, 0) for part in parts)
        for key in ("calls", "reused", "remaining", "tokens_in", "tokens_out", "invalid")
        if any(key in part.extra for part in parts) or key != "invalid"
    }
    return StageSummary(
        stage=stage,
        rows_in=sum(part.rows_in for part in parts),
        kept=sum(part.kept for part in parts),
        dropped=merge_counts(part.dropped for part in parts),
        seconds=sum(part.seconds for part in parts),
        extra={**extra, "failures": merge_counts(part.extra.get("failures", {}) for part in parts)},
    )
