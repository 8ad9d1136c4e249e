"""The desk as people's pipelines call it, over `annotators.label_studio`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotators import label_studio
from annotators.label_studio import Desk, DeskRefused
from engines.assets import find_asset


@dataclass(frozen=True)
class Annotation:
    """As of `annotators.desk.annotations`."""

    review_id: str | None
    task_id: int | None
    unique_id: str
    created_at: datetime
    updated_at: datetime
    person: str
    question: str
    answer: dict[str, Any] | None
    problem: str | None
    comment: str | None
    seconds: float | None
    cancelled: bool
    raw: str


@dataclass(frozen=True)
class Pulled:
    """As of `annotators.desk.annotations`."""

    annotations: list[Annotation]
    seen_review_ids: frozenset[str]
    newest: datetime | None
    complete: bool
    tasks: int


def ensure_project(
    desk: Desk,
    title: str,
    question: str,
    *,
    criteria: Sequence[Any] = (),
    show_predictions: bool = False,
) -> int:
    """See `annotators.label_studio.ensure_project`."""
    config = find_asset("label_studio/pairwise.xml").read_text(encoding="utf-8")
    return label_studio.ensure_project(desk, title, config)


def read_guideline(category: str) -> str:
    """No guideline is shown."""
    return ""


def make_task(
    question: str, review_id: str, *, prompt: str, guideline: str, responses: Sequence[str]
) -> dict[str, Any]:
    """The data of a task."""
    left, right = responses
    return {"review_id": review_id, "prompt": prompt, "left": left, "right": right}


def push_tasks(
    desk: Desk,
    project_id: int,
    tasks: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Any] | None = None,
    *,
    overlap: int = 1,
) -> dict[str, int]:
    """See `annotators.label_studio.push_tasks`."""
    return label_studio.push_tasks(desk, project_id, tasks)


def pull_annotations(desk: Desk, project_id: int, *, since: datetime | None = None) -> Pulled:
    """All of them, whatever `since` says."""
    found = label_studio.pull_annotations(desk, project_id)
    annotations = [
        Annotation(
            a.review_id,
            None,
            a.unique_id,
            datetime.fromisoformat(json.loads(a.raw)["created_at"]),
            a.updated_at,
            a.person,
            "preference",
            {"choice": a.choice} if a.choice else None,
            None if a.choice else "no preference was chosen",
            a.comment,
            a.seconds,
            a.cancelled,
            a.raw,
        )
        for a in found
    ]
    newest = max((a.updated_at for a in found), default=None)
    return Pulled(annotations, frozenset(), newest, True, 0)


__all__ = ["DeskRefused", "ensure_project", "make_task", "pull_annotations", "push_tasks",
           "read_guideline"]  # fmt: skip
