"""The desk where people judge: Label Studio's projects, what goes there and what comes back."""

from annotators.desk.annotations import (
    Annotation,
    Held,
    Pulled,
    pull_annotations,
    read_annotation,
)
from annotators.desk.client import (
    PERSON,
    Desk,
    DeskGone,
    DeskRefused,
    DeskUnreachable,
    connect_desk,
    name_person,
)
from annotators.desk.projects import ensure_project
from annotators.desk.questions import make_task
from annotators.desk.tasks import push_tasks
from annotators.guidelines import read_guideline

__all__ = [
    "PERSON", "Annotation", "Desk", "DeskGone", "DeskRefused", "DeskUnreachable", "Held",
    "Pulled", "connect_desk", "ensure_project", "make_task", "name_person", "pull_annotations",
    "push_tasks", "read_annotation", "read_guideline",
]  # fmt: skip
