"""Annotations back from the desk: everything there is, or what changed since the last time.

The desk moves a task's update time when an annotation of it is made, changed or deleted. So a later
pull asks for the tasks updated since, by the desk's own clock, and reads all that these hold now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from annotators.desk.answers import Answer, Unreadable, collect, read_answer
from annotators.desk.client import (
    LONG_SECONDS,
    Desk,
    ask,
    list_tasks,
    name_person,
    speak_to,
    tell_while_slow,
)
from annotators.desk.questions import seal_task

SKIPPED = "skipped"
EDITED = "the task was edited at the desk"
NO_TIME = "the annotation has no update time"
NO_RESULT = "the annotation has no results, not even none"
OVERLAP = timedelta(minutes=10)
SKEW = 300.0  # seconds that two clocks may part between two pulls; less than OVERLAP
IDS = 500  # of tasks in one export: the desk takes no longer address


@dataclass(frozen=True)
class Annotation:
    """One submitted or skipped annotation of one person, as it stood when pulled.

    `unique_id` names the annotation and `updated_at` (aware) its revision; `created_at` is when it
    was first sent. `answer` is None where there is none that could be read, and `problem` then says
    why. `review_id` is None where somebody put the task there by hand. `person` is a pseudonym;
    that and `unique_id` are empty where the desk does not say. `raw` is the desk's JSON, which
    names the person by the desk's user id. `seconds` is the time spent.
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
class Held:
    """How far a project was read: give it as `since` to the next pull.

    `newest` is the desk's time up to which changes were seen (None where it had no task), `tasks`
    how many tasks there were and `top` the highest id among them; `skew` is by how many seconds the
    desk's clock was ahead of ours (None where it does not tell).
    """

    newest: datetime | None
    tasks: int
    top: int
    skew: float | None = None


@dataclass(frozen=True)
class Pulled:
    """What a pull read.

    `annotations` are all that the tasks read hold now, oldest revision first. `task_ids` are those
    tasks and `review_ids` their reviews: what the lake has of them and is not among `annotations`
    is gone. Where `complete`, that is true of every task of the project. `gone` are those of the
    tasks expected that are no longer there (a complete pull looks for them).
    """

    annotations: list[Annotation]
    review_ids: frozenset[str]
    task_ids: frozenset[int]
    complete: bool
    gone: frozenset[int]
    held: Held


def pull_annotations(
    desk: Desk,
    project_id: int,
    *,
    since: Held | None = None,
    expected: Collection[int] = (),
    tell: Callable[[str], None] | None = None,
) -> Pulled:
    """Read the annotations of a project, skipped and empty ones too; drafts are not submitted.

    Args:
        since: `held` of an earlier pull: only tasks that changed after it are read, and those of
            the ten minutes before it again, for the clocks of a desk may differ and a change that
            took long is dated at its beginning. Everything is read all the same where a task is
            missing, and where one of the two clocks was set since. None reads everything. Do that
            now and then: it alone shows what changed without a new date.
        expected: the tasks that should be there.
        tell: hears now and then that it goes on.

    Raises:
        DeskUnreachable: see `annotators.desk.client.speak_to`. Pull again: nothing was changed.
        DeskGone: no such project.
    """
    slow = f"project {project_id} at {desk.url} is still being read"
    with speak_to(desk) as client, tell_while_slow(tell, slow):
        held = _look_at(client, project_id)
        if since is None or _is_doubtful(client, project_id, since, held, expected):
            exported = list(_export(client, project_id, [("download_all_tasks", "false")]))
            gone = _find_gone(client, project_id, held, expected)
            read = exported
        else:
            gone = frozenset()
            read = list(_list_changed(client, project_id, since.newest - OVERLAP))
            ids = [task["id"] for task in read]
            exported = [
                task
                for start in range(0, len(ids), IDS)
                for task in _export(
                    client, project_id, [("ids[]", str(i)) for i in ids[start : start + IDS]]
                )
            ]
    annotations = [
        read_annotation(desk.name, task.get("data") or {}, {"task": task.get("id"), **annotation})
        for task in exported
        for annotation in task.get("annotations") or ()
    ]
    reviews = {_name_review(task["data"]) for task in read}
    return Pulled(
        sorted(annotations, key=lambda a: (a.updated_at, a.unique_id)),
        frozenset(review_id for review_id in reviews if review_id is not None),
        frozenset(task["id"] for task in read),
        read is exported,
        gone,
        held,
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
    if not cancelled and (sealed or "question" in data) and data.get("seal") != seal_task(data):
        problem = EDITED
    if problem is None and not isinstance(found, list):
        problem = NO_RESULT
    if problem is None:
        try:
            answer = read_answer(question, data, results)
        except Unreadable as error:
            problem = str(error)
    created, updated = (_read_time(raw.get(key)) for key in ("created_at", "updated_at"))
    if updated is None:
        answer, problem = None, NO_TIME
    known = {key: value for key, value in raw.items() if key != "prediction"}
    comment = "\n".join(collect(results, "comment", "text")).strip()
    oldest = datetime.fromtimestamp(0, UTC)
    number, user = raw.get("id"), raw.get("completed_by")
    unnamed = "" if number is None else f"{desk}/annotations/{number}"
    is_known = isinstance(user, int) and not isinstance(user, bool)
    return Annotation(
        review_id=_name_review(data),
        task_id=raw.get("task"),
        unique_id=str(raw.get("unique_id") or unnamed),
        created_at=created or updated or oldest,
        updated_at=updated or created or oldest,
        person=name_person(desk, user) if is_known else "",
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
    yield from ask(client, "GET", path, params=params, timeout=LONG_SECONDS)


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


def _look_at(client: httpx.Client, project_id: int) -> Held:
    response = client.get(f"/api/projects/{project_id}").raise_for_status()
    clock, ours = _read_clock(response), datetime.now(UTC)
    latest = _find_first(client, project_id, "-tasks:updated_at")["tasks"]
    newest = _read_time(latest[0]["updated_at"]) if latest else None
    if newest and clock:  # later dates are from before the desk's clock was set back
        newest = min(newest, clock)
    last = _find_first(client, project_id, "-tasks:id")
    top = last["tasks"][0]["id"] if last["tasks"] else 0
    return Held(newest, last["total"], top, (clock - ours).total_seconds() if clock else None)


def _is_doubtful(
    client: httpx.Client, project_id: int, since: Held, held: Held, expected: Collection[int]
) -> bool:
    """Whether what changed since may not be all: a task is missing, or a clock was set."""
    if since.newest is None:
        return True
    if None not in (since.skew, held.skew) and abs(held.skew - since.skew) > SKEW:
        return True
    added = 0
    if held.top > since.top:
        within = [(since.top, "greater"), (held.top + 1, "less")]
        added = _find_first(client, project_id, "tasks:id", *within)["total"]
    return held.tasks - added < since.tasks or added < sum(i > since.top for i in expected)


def _find_gone(
    client: httpx.Client, project_id: int, held: Held, expected: Collection[int]
) -> frozenset[int]:
    """The tasks expected that are not there; all are listed only where the count is another."""
    if (held.tasks, held.top) == (len(expected), max(expected, default=0)):
        return frozenset()
    there = {task["id"] for task in list_tasks(client, project_id, "id")}
    return frozenset(expected) - there


def _find_first(
    client: httpx.Client, project_id: int, ordering: str, *ids: tuple[int, str]
) -> dict[str, Any]:
    """The first task in that order, and how many there are (with `ids`: by their id)."""
    items = [
        {"filter": "filter:tasks:id", "operator": operator, "type": "Number", "value": value}
        for value, operator in ids
    ]
    query = {"ordering": [ordering], "filters": {"conjunction": "and", "items": items}}
    params = {"project": project_id, "page_size": 1, "fields": "task_only",
              "include": "id,updated_at", "query": json.dumps(query)}  # fmt: skip
    return dict(ask(client, "GET", "/api/tasks", params=params))


def _read_clock(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return None


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
