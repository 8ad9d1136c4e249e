"""Annotations back from the desk: everything there is, or what changed since the last time.

The desk moves a task's update time when an annotation of it is made, changed or deleted. So a later
pull asks for the tasks updated since, by the desk's own clock, and reads all that these hold now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from annotators.desk.answers import Answer, Unreadable, collect, read_answer
from annotators.desk.client import Desk, ask, list_tasks, name_person, speak_to
from annotators.desk.questions import seal_task

SKIPPED = "skipped"
EDITED = "the task was edited at the desk"
OVERLAP = timedelta(minutes=10)
IDS = 500  # of tasks in one export: the desk takes no longer address
EXPORT_SECONDS = 900.0


@dataclass(frozen=True)
class Annotation:
    """One submitted or skipped annotation of one person, as it stood when pulled.

    `unique_id` names the annotation and `updated_at` (aware) its revision; `created_at` is when it
    was first sent. `answer` is None where there is none that could be read, and `problem` then says
    why. `review_id` is None where somebody put the task there by hand. `person` is a pseudonym;
    `raw` is the desk's JSON, which names the person by the desk's user id. `seconds` is the time
    spent.
    """

    review_id: str | None
    task_id: int | None
    unique_id: str
    created_at: datetime
    updated_at: datetime
    person: str
    question: str
    answer: Answer | None
    problem: str | None
    comment: str | None
    seconds: float | None
    cancelled: bool
    raw: str


@dataclass(frozen=True)
class Pulled:
    """What a pull read.

    `annotations` are all that the tasks read hold now, oldest revision first. `seen_review_ids` are
    the reviews of those tasks: what the lake has of them and is not among `annotations` is gone.
    Where `complete`, that is true of every review of the project. `newest` is the desk's time of
    the last change in the project (None where it has no task): give it as `since` next time.
    `tasks` is how many the project holds; where it holds fewer than were pushed, some were deleted
    there, which only a complete pull tells of.
    """

    annotations: list[Annotation]
    seen_review_ids: frozenset[str]
    newest: datetime | None
    complete: bool
    tasks: int


def pull_annotations(desk: Desk, project_id: int, *, since: datetime | None = None) -> Pulled:
    """Read the annotations of a project, skipped and empty ones too; drafts are not submitted.

    Args:
        since: `newest` of an earlier pull: only tasks that changed after it are read, and those of
            the ten minutes before it again, for the clocks of a desk may differ and a change that
            took long is dated at its beginning. None reads everything. Do that now and then: it
            alone shows what changed without a new date (a deleted task, a deleted account).

    Raises:
        DeskUnreachable: see `annotators.desk.client.speak_to`. Pull again: nothing was changed.
        DeskRefused: no such project.
    """
    with speak_to(desk) as client:
        project = ask(client, "GET", f"/api/projects/{project_id}")
        newest = _find_newest(client, project_id)
        if since is None:
            options = [("download_all_tasks", "false")]
            exported = list(_export(client, project_id, options))
            seen = {_name_review(task["data"]) for task in exported}
        else:
            changed = list(_list_changed(client, project_id, since - OVERLAP))
            seen = {_name_review(task["data"]) for task in changed}
            ids = [task["id"] for task in changed]
            exported = [
                task
                for start in range(0, len(ids), IDS)
                for task in _export(
                    client, project_id, [("ids[]", str(i)) for i in ids[start : start + IDS]]
                )
            ]
    annotations = [
        read_annotation(desk.name, task.get("data") or {}, annotation)
        for task in exported
        for annotation in task.get("annotations") or ()
    ]
    return Pulled(
        sorted(annotations, key=lambda a: (a.updated_at, a.unique_id)),
        frozenset(review_id for review_id in seen if review_id is not None),
        newest,
        since is None,
        int(project["task_number"]),
    )


def read_annotation(desk: str, data: Mapping[str, Any], raw: Mapping[str, Any]) -> Annotation:
    """Read one annotation of an export of the desk of that name. Whatever it lacks, it is an
    annotation, if need be with a `problem`."""
    found = raw.get("result")
    results = [r for r in found if isinstance(r, Mapping)] if isinstance(found, list) else []
    sealed = "seal" in data  # tasks from before there was another question have none
    question = str(data.get("question")) if sealed else "preference"
    cancelled = bool(raw.get("was_cancelled"))
    answer: Answer | None = None
    problem = SKIPPED if cancelled else None  # what was clicked before skipping is no answer
    if not cancelled and sealed and data["seal"] != seal_task(data):
        problem = EDITED
    if problem is None:
        try:
            answer = read_answer(question, data, results)
        except Unreadable as error:
            problem = str(error)
    created, updated = (_read_time(raw.get(key)) for key in ("created_at", "updated_at"))
    if updated is None:
        answer, problem = None, "it has no update time"
    known = {key: value for key, value in raw.items() if key != "prediction"}
    comment = "\n".join(collect(results, "comment", "text")).strip()
    oldest = datetime.fromtimestamp(0, UTC)
    return Annotation(
        review_id=_name_review(data),
        task_id=raw.get("task"),
        unique_id=str(raw.get("unique_id") or f"{desk}/annotations/{raw.get('id')}"),
        created_at=created or updated or oldest,
        updated_at=updated or created or oldest,
        person=name_person(desk, raw.get("completed_by")),
        question=question,
        answer=answer,
        problem=problem,
        comment=comment or None,
        seconds=_read_seconds(raw.get("lead_time")),
        cancelled=cancelled,
        # the prediction shown says how long ago it was made, so it never reads twice alike
        raw=json.dumps(known, ensure_ascii=False, sort_keys=True),
    )


def _export(
    client: httpx.Client, project_id: int, options: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """The export, for the lists of tasks leave out what names an annotation."""
    params = [("exportType", "JSON"), *options]
    path = f"/api/projects/{project_id}/export"
    yield from ask(client, "GET", path, params=params, timeout=EXPORT_SECONDS)


def _list_changed(
    client: httpx.Client, project_id: int, since: datetime
) -> Iterator[dict[str, Any]]:
    """Tasks that people changed after `since`; what was only imported has no editor yet."""
    after = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    task = "filter:tasks:"
    return list_tasks(
        client,
        project_id,
        "id,data",
        {"filter": f"{task}updated_at", "operator": "greater", "type": "Datetime", "value": after},
        {"filter": f"{task}updated_by", "operator": "empty", "type": "List", "value": False},
    )


def _find_newest(client: httpx.Client, project_id: int) -> datetime | None:
    query = json.dumps({"ordering": ["-tasks:updated_at"]})
    params = {"project": project_id, "page_size": 1, "fields": "task_only",
              "include": "id,updated_at", "query": query}  # fmt: skip
    tasks = ask(client, "GET", "/api/tasks", params=params)["tasks"]
    return _read_time(tasks[0]["updated_at"]) if tasks else None


def _name_review(data: Any) -> str | None:
    review_id = data.get("review_id") if isinstance(data, Mapping) else None
    return None if review_id is None else str(review_id)


def _read_time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _read_seconds(value: Any) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if fits else None
