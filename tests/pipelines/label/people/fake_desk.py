"""A desk without a server: the functions of the real one over a SQLite file, which outlives a kill.

It has a clock of its own, a minute an event, which can be set, and keeps whatever it is given: more
annotations than were wanted, and two by one person. An answer that names a `problem` cannot be
read.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from annotators.desk import Annotation, DeskGone, DeskRefused, Held, Pulled
from annotators.desk.annotations import EDITED

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
TABLES = """
CREATE TABLE IF NOT EXISTS projects
    (id INTEGER PRIMARY KEY AUTOINCREMENT, title UNIQUE, question, overlap);
CREATE TABLE IF NOT EXISTS tasks
    (id INTEGER PRIMARY KEY AUTOINCREMENT, project, review_id, data, updated, sent);
CREATE TABLE IF NOT EXISTS annotations
    (id INTEGER PRIMARY KEY AUTOINCREMENT, task, person, answer, cancelled, created, updated,
     seconds, comment);
CREATE TABLE IF NOT EXISTS clock (now INTEGER);
"""


class FakeDesk:
    """`pause` is the time that one chunk of an import, or one project of a pull, takes."""

    DeskRefused = DeskRefused

    def __init__(self, file: Path | str, *, chunk: int = 100, pause: float = 0.0) -> None:
        self.name = "http://desk.example"
        self.chunk, self.pause = chunk, pause
        self.skew = 0.0
        self.base = sqlite3.connect(file, isolation_level=None)
        self.base.execute("PRAGMA synchronous = OFF")  # kills are of processes, not of machines
        self.base.executescript(TABLES)

    def ask(self, sql: str, *values: Any) -> list[Any]:
        return self.base.execute(sql, values).fetchall()

    def tick(self) -> int:
        (count,) = self.ask("SELECT count(*) FROM clock")[0]
        self.ask("UPDATE clock SET now = now + 1" if count else "INSERT INTO clock VALUES (1)")
        return int(self.ask("SELECT now FROM clock")[0][0])

    # what the code under test calls

    def ensure_project(self, desk: Any, title: str, question: str, **_settings: Any) -> int:
        self.ask("INSERT OR IGNORE INTO projects (title, question) VALUES (?, ?)", title, question)
        return int(self.ask("SELECT id FROM projects WHERE title = ?", title)[0][0])

    def read_guideline(self, category: str) -> str:
        return f"What good {category} is."

    def make_task(
        self, question: str, review_id: str, *, prompt: str, guideline: str, responses: Any
    ) -> dict[str, Any]:
        shown = {f"response_{place}": text for place, text in enumerate(responses)}
        return {"review_id": review_id, "prompt": prompt, "guideline": guideline, **shown}

    def push_tasks(
        self,
        desk: Any,
        project_id: int,
        tasks: Sequence[Mapping[str, Any]],
        predictions: Mapping[str, Any] | None = None,
        *,
        overlap: int = 1,
    ) -> dict[str, int]:
        if not self.ask("SELECT 1 FROM projects WHERE id = ?", project_id):
            raise DeskGone(f"no project {project_id}")
        self.ask("UPDATE projects SET overlap = ? WHERE id = ?", overlap, project_id)
        known = {
            r for (r,) in self.ask("SELECT review_id FROM tasks WHERE project = ?", project_id)
        }
        missing = [task for task in tasks if task["review_id"] not in known]
        for start in range(0, len(missing), self.chunk):
            time.sleep(self.pause)
            rows = [
                (project_id, task["review_id"], (data := json.dumps(dict(task))), self.tick(), data)
                for task in missing[start : start + self.chunk]
            ]
            self.base.execute("BEGIN")
            self.base.executemany(
                "INSERT INTO tasks (project, review_id, data, updated, sent) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            self.base.execute("COMMIT")
            time.sleep(self.pause)
        there = dict(
            self.ask(
                "SELECT review_id, min(id) FROM tasks WHERE project = ? GROUP BY 1", project_id
            )
        )
        return {task["review_id"]: there[task["review_id"]] for task in tasks}

    def pull_annotations(
        self,
        desk: Any,
        project_id: int,
        *,
        since: Held | None = None,
        expected: Collection[int] = (),
        tell: Any = None,
    ) -> Pulled:
        time.sleep(self.pause)
        if not self.ask("SELECT 1 FROM projects WHERE id = ?", project_id):
            raise DeskGone(f"no project {project_id}")
        there = self.ask("SELECT id, data, sent, updated FROM tasks WHERE project = ?", project_id)
        ids = {task for task, *_ in there}
        now = self.ask("SELECT max(now) FROM clock")[0][0]
        newest = min(max(task[3] for task in there), now) if there else None
        top = max(ids, default=0)
        at = None if newest is None else EPOCH + timedelta(minutes=newest)
        held = Held(at, len(there), top, self.skew)
        complete = since is None or since.newest is None or since.skew != self.skew
        after = -1.0
        if not complete:
            added = sum(i > since.top for i in ids)
            wanted = sum(i > since.top for i in expected)
            complete = len(ids) - added < since.tasks or added < wanted
        if not complete:
            after = (since.newest - EPOCH).total_seconds() / 60 - 3
        tasks = [task for task in there if task[3] > after]
        question = self.ask("SELECT question FROM projects WHERE id = ?", project_id)[0][0]
        found = [
            self.read(row, json.loads(data).get("review_id"), question, sent not in (None, data))
            for task, data, sent, _ in tasks
            for row in self.ask("SELECT * FROM annotations WHERE task = ?", task)
        ]
        return Pulled(
            found,
            frozenset(json.loads(data).get("review_id", "") for _, data, *_ in tasks),
            frozenset(task for task, *_ in tasks),
            complete,
            frozenset(expected) - ids if complete else frozenset(),
            held,
        )

    def read(self, row: Any, review_id: str | None, question: str, edited: bool) -> Annotation:
        number, task, person, answer, cancelled, created, updated, seconds, comment = row
        said = json.loads(answer)
        problem = "skipped" if cancelled else EDITED if edited else said.get("problem")
        return Annotation(
            review_id,
            task,
            f"annotation-{number}",
            EPOCH + timedelta(minutes=created),
            EPOCH + timedelta(minutes=updated),
            f"person-{person}" if person else "",
            question,
            said if problem is None else None,
            problem,
            comment,
            seconds,
            bool(cancelled),
            json.dumps({"id": number, "said": said, "updated": updated}),
        )

    # what people do

    def find_task(self, review_id: str) -> int:
        return int(self.ask("SELECT min(id) FROM tasks WHERE review_id = ?", review_id)[0][0])

    def submit(
        self, review_id: str, person: str, seconds: float = 20.0, *, cancelled: bool = False,
        task: int | None = None, **answer: Any,
    ) -> int:  # fmt: skip
        now, task = self.tick(), task or self.find_task(review_id)
        self.ask(
            "INSERT INTO annotations (task, person, answer, cancelled, created, updated, seconds) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            task, person, json.dumps(answer), cancelled, now, now, seconds,
        )  # fmt: skip
        self.ask("UPDATE tasks SET updated = ? WHERE id = ?", now, task)
        return int(self.ask("SELECT max(id) FROM annotations")[0][0])

    def revise(self, annotation: int, **answer: Any) -> None:
        now = self.tick()
        self.ask(
            "UPDATE annotations SET answer = ?, updated = ? WHERE id = ?",
            json.dumps(answer), now, annotation,
        )  # fmt: skip
        self.touch(annotation, now)

    def delete(self, annotation: int) -> None:
        self.touch(annotation, self.tick())
        self.ask("DELETE FROM annotations WHERE id = ?", annotation)

    def drop_task(self, task: int) -> None:
        self.ask("DELETE FROM annotations WHERE task = ?", task)
        self.ask("DELETE FROM tasks WHERE id = ?", task)

    def drop_project(self, project: int) -> None:
        for (task,) in self.ask("SELECT id FROM tasks WHERE project = ?", project):
            self.drop_task(task)
        self.ask("DELETE FROM projects WHERE id = ?", project)

    def copy_task(self, task: int) -> int:
        """What somebody does who imports an export of a task again."""
        self.ask(
            "INSERT INTO tasks (project, review_id, data, updated, sent) "
            "SELECT project, review_id, data, ?, sent FROM tasks WHERE id = ?",
            self.tick(), task,
        )  # fmt: skip
        return int(self.ask("SELECT max(id) FROM tasks")[0][0])

    def edit_task(self, task: int, **changes: Any) -> None:
        """Change the data of a task; without `changes`, put it back."""
        data, sent = self.ask("SELECT data, sent FROM tasks WHERE id = ?", task)[0]
        edited = json.dumps({**json.loads(data), **changes}) if changes else sent
        self.ask("UPDATE tasks SET data = ?, updated = ? WHERE id = ?", edited, self.tick(), task)

    def set_clock(self, minutes: int) -> None:
        """Set the desk's clock forward, or back."""
        self.tick()
        self.ask("UPDATE clock SET now = max(now + ?, 1)", minutes)
        self.skew += minutes * 60

    def touch(self, annotation: int, now: int) -> None:
        self.ask(
            "UPDATE tasks SET updated = ? WHERE id = (SELECT task FROM annotations WHERE id = ?)",
            now, annotation,
        )  # fmt: skip
