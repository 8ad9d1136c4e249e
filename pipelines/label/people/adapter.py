"""The desk as people's pipelines call it, over `annotators.label_studio`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotators import label_studio
from annotators.label_studio import Desk, DeskRefused
from engines.assets import find_asset


@dataclass(frozen=True)
class Annotation:
    review_id: str | None
    unique_id: str
    updated_at: datetime
    person: str
    comment: str | None
    seconds: float | None
    cancelled: bool
    raw: str
    question: str
    answer: dict[str, Any]


@dataclass(frozen=True)
class Pulled:
    annotations: list[Annotation]
    seen_review_ids: set[str]
    newest: datetime | None


def ensure_project(
    desk: Desk,
    title: str,
    question: str,
    *,
    criteria: Sequence[Any] = (),
    show_predictions: bool = False,
) -> int:
    config = find_asset("label_studio/pairwise.xml").read_text(encoding="utf-8")
    return label_studio.ensure_project(desk, title, config)


def make_task(
    question: str, review_id: str, *, prompt: str, guideline: str, responses: Sequence[str]
) -> dict[str, Any]:
    return {
        "review_id": review_id,
        "prompt": prompt,
        "left": responses[0],
        "right": responses[1],
    }


def push_tasks(
    desk: Desk,
    project_id: int,
    tasks: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Any] | None = None,
    *,
    overlap: int = 1,
) -> dict[str, int]:
    return label_studio.push_tasks(desk, project_id, tasks)


def pull_annotations(desk: Desk, project_id: int, *, since: datetime | None = None) -> Pulled:
    found = label_studio.pull_annotations(desk, project_id)
    with label_studio._speak_to(desk) as client:
        seen = set(label_studio._list_tasks(client, project_id))
    annotations = [
        Annotation(
            a.review_id,
            a.unique_id,
            a.updated_at,
            a.person,
            a.comment,
            a.seconds,
            a.cancelled,
            a.raw,
            "preference",
            {"choice": a.choice},
        )
        for a in found
    ]
    return Pulled(annotations, seen, max((a.updated_at for a in found), default=None))


__all__ = ["Annotation", "DeskRefused", "Pulled", "ensure_project", "make_task",
           "pull_annotations", "push_tasks"]  # fmt: skip
