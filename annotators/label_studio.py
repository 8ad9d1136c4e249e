"""The desk (`annotators.desk`) as `pipelines.label.review` knows it: pairs only, and a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from annotators.desk import annotations, projects, tasks
from annotators.desk.annotations import Annotation
from annotators.desk.client import (
    PERSON,
    Desk,
    DeskRefused,
    DeskUnreachable,
    connect_desk,
    name_person,
)
from annotators.desk.questions import make_task

__all__ = [
    "PERSON", "Annotation", "Desk", "DeskRefused", "DeskUnreachable", "connect_desk",
    "ensure_project", "name_person", "pull_annotations", "push_tasks",
]  # fmt: skip


def ensure_project(desk: Desk, title: str, _config: str) -> int:
    """A project that asks for a preference."""
    return projects.ensure_project(desk, title, "preference")


def push_tasks(desk: Desk, project_id: int, pairs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Push pairs: `review_id`, `prompt`, `left` and `right` each."""
    made = [
        make_task(
            "preference",
            pair["review_id"],
            prompt=pair["prompt"],
            guideline="",
            responses=[pair["left"], pair["right"]],
        )
        for pair in pairs
    ]
    return tasks.push_tasks(desk, project_id, made)


def pull_annotations(desk: Desk, project_id: int) -> list[Any]:
    """Every annotation of the project, with its `choice` (left, right, tie or None)."""
    return [
        SimpleNamespace(**vars(annotation), choice=(annotation.answer or {}).get("choice"))
        for annotation in annotations.pull_annotations(desk, project_id).annotations
    ]
