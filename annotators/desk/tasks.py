"""Tasks out to the desk: what is missing is imported, in chunks, and nothing twice.

The desk takes a second import of a task for a second task. So a push lists first and imports what
is missing; and since an import that was cut off may still have been taken, it counts afterwards and
removes the younger of two tasks of one review, unless somebody has worked on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from annotators.desk.answers import write_answer
from annotators.desk.client import LONG_SECONDS, Desk, DeskRefused, ask, list_tasks, speak_to
from annotators.desk.projects import read_interface
from annotators.desk.questions import SHARED_KEYS, find_question, seal_task

CHUNK = 1000
CHUNK_CHARACTERS = 20_000_000
MODEL = "assay"


def push_tasks(
    desk: Desk,
    project_id: int,
    tasks: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Any] | None = None,
    *,
    overlap: int = 1,
) -> dict[str, int]:
    """Import the tasks that the project does not have yet, in the order given.

    Args:
        tasks: made by `annotators.desk.questions.make_task`, unchanged.
        predictions: review id -> an answer (see `annotators.desk.answers`), where judges have one;
            its `score` is theirs (0 to 1). All are checked. A project that does not show
            predictions gets none, for whatever is at the desk can be read there.
        overlap: how many people each task is shown to. It is the project's, for all its tasks.

    Returns:
        The task id of every given review; the oldest where the project holds it twice.

    Raises:
        DeskRefused: a task that `make_task` did not make, a prediction that the project's config
            does not take, or the desk took fewer tasks than it was given.
        DeskUnreachable: see `annotators.desk.client.speak_to`. Push again: what was imported is
            not imported twice.
    """
    wanted = {task["review_id"]: task for task in map(_check_task, tasks)}
    with speak_to(desk) as client:
        project = ask(client, "GET", f"/api/projects/{project_id}")
        ready = _write_predictions(project, wanted, predictions or {})
        if project["maximum_annotations"] != overlap:
            ask(
                client,
                "PATCH",
                f"/api/projects/{project_id}",
                json={"maximum_annotations": overlap},
            )
        known = _find_tasks(client, project_id) if project["task_number"] else {}
        others = project["task_number"] - sum(map(len, known.values()))  # made by hand
        missing = [task for review_id, task in wanted.items() if review_id not in known]
        for chunk in _split(missing):
            answer = ask(
                client,
                "POST",
                f"/api/projects/{project_id}/import",
                params={"return_task_ids": "true"},
                json=[{"data": task, **ready.get(task["review_id"], {})} for task in chunk],
                timeout=LONG_SECONDS,
            )
            ids = answer.get("task_ids") or ()
            if len(ids) != len(chunk):
                raise DeskRefused(
                    f"project {project_id} at {desk.url} took {len(ids)} of {len(chunk)} tasks, "
                    f"{chunk[0]['review_id']} first: look at the server's log and push again"
                )
            known |= {task["review_id"]: [i] for task, i in zip(chunk, ids, strict=True)}
        if missing:
            there = ask(client, "GET", f"/api/projects/{project_id}")["task_number"]
            if there != others + sum(map(len, known.values())):  # an import cut off came through
                known = _find_tasks(client, project_id)
        return {review_id: _remove_twin(client, known[review_id]) for review_id in wanted}


def _check_task(task: Mapping[str, Any]) -> dict[str, Any]:
    keys = {*SHARED_KEYS, *find_question(task.get("question", "preference")).keys}
    if set(task) != keys or task["seal"] != seal_task(task):
        raise DeskRefused(
            f"the task of review {task.get('review_id')} is not as make_task made it "
            f"({', '.join(sorted(set(task) ^ keys)) or 'a text was changed'})"
        )
    return dict(task)


def _write_predictions(
    project: Mapping[str, Any],
    tasks: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """The predictions of each review as an import takes them, checked against the config: the desk
    itself takes anything."""
    if not predictions:
        return {}
    where = f"project {project['id']}"
    interface = read_interface(project["label_config"], where)
    written = {}
    for review_id, answer in predictions.items():
        if review_id not in tasks:
            continue
        task = tasks[review_id]
        try:
            result = write_answer(task["question"], task, answer)
        except (ValueError, KeyError, TypeError) as error:
            raise DeskRefused(f"the prediction for review {review_id}: {error}") from error
        prediction = {"model_version": MODEL, "result": result, "score": answer.get("score")}
        errors = interface.validate_prediction(prediction, return_errors=True)
        if errors:
            raise DeskRefused(f"the prediction for review {review_id} in {where}: {errors[0]}")
        written[review_id] = {"predictions": [prediction]}
    return written if project["show_collab_predictions"] else {}


def _find_tasks(client: httpx.Client, project_id: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for task in list_tasks(client, project_id, "id,data"):
        review_id = (task["data"] or {}).get("review_id")
        if review_id is not None:
            found.setdefault(str(review_id), []).append(task["id"])
    return found


def _remove_twin(client: httpx.Client, ids: Sequence[int]) -> int:
    """The task that stays of several of one review: those that nobody has worked on go, but for
    the oldest where nobody has worked on any."""
    ids = sorted(ids)
    if len(ids) > 1:
        tasks = [ask(client, "GET", f"/api/tasks/{i}") for i in ids]
        worked = [t["id"] for t in tasks if t["annotations"] or t["drafts"]] or ids[:1]
        for i in ids:
            if i not in worked:
                ask(client, "DELETE", f"/api/tasks/{i}")
        return worked[0]
    return ids[0]


def _split(tasks: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Chunks of at most CHUNK tasks and about CHUNK_CHARACTERS: a desk refuses large requests."""
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for task in tasks:
        characters = len(json.dumps(task, ensure_ascii=False))
        if chunk and (len(chunk) == CHUNK or size + characters > CHUNK_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += characters
    if chunk:
        yield chunk
