"""From names that travel (a command line, a worker's task) to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.clean.bulk.sketch import Plan
from pipelines.clean.contamination import gather_references
from pipelines.clean.evaluation_sets import read_evaluation_set

LEAST = {"exact": 1.0, "13gram": 0.0}


def make_plan(
    similarity: float,
    against: Sequence[str] = (),
    least: Mapping[str, float] = LEAST,
    base: str | None = None,
) -> Plan:
    """The plan that looks for near-duplicates from `similarity` on, and for the prompts of the
    evaluation sets `against`, whose paths may be relative to `base`.

    Raises:
        pipelines.clean.evaluation_sets.EvaluationSetUnusable
    """
    if not against:
        return Plan(similarity)
    folder = Path(base) if base else None
    sets = [read_evaluation_set(place, folder) for place in dict.fromkeys(against)]
    return Plan(similarity, gather_references(sets), dict(least))
