"""A desk without a server: the functions of the real one over a SQLite file, which outlives a kill.

It has a clock of its own, a minute an event, and keeps whatever it is given: more annotations than
were wanted, and two by one person.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from annotators.desk import Annotation, DeskRefused, Pulled

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
TABLES = """
CREATE TABLE IF NOT EXISTS projects (id INTEGER PRIMARY KEY, title UNIQUE, question, overlap);
CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, project, review_id, data, updated);
CREATE TABLE IF NOT EXISTS annotations
    (id INTEGER PRIMARY KEY, task, person, answer, cancelled, created, updated, seconds, comment);
CREATE TABLE IF NOT EXISTS clock (now INTEGER);
"""


class FakeDesk:
    """`pause` is the time that one chunk of an import, or one project of a pull, takes."""

    DeskRefused = DeskRefused

    def __init__(self, file: Path | str, *, chunk: int = 100, pause: float = 0.0) -> None:
        self.name = "http://desk.example"
        self.chunk, self.pause = chunk, pause
        self.base = sqlite3.connect(file, isolation_level=None)
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
        self.ask("UPDATE projects SET overlap = ? WHERE id = ?", overlap, project_id)
        known = {
            r for (r,) in self.ask("SELECT review_id FROM tasks WHERE project = ?", project_id)
        }
        missing = [task for task in tasks if task["review_id"] not in known]
        for start in range(0, len(missing), self.chunk):
            time.sleep(self.pause)
            rows = [
                (project_id, task["review_id"], json.dumps(dict(task)), self.tick())
                for task in missing[start : start + self.chunk]
            ]
            self.base.execute("BEGIN")
            self.base.executemany(
                "INSERT INTO tasks (project, review_id, data, updated) VALUES (?, ?, ?, ?)", rows
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
        self, desk: Any, project_id: int, *, since: datetime | None = None
    ) -> Pulled:
        time.sleep(self.pause)
        if not self.ask("SELECT 1 FROM projects WHERE id = ?", project_id):
            raise DeskRefused(f"no project {project_id}")
        after = -1 if since is None else (since - EPOCH).total_seconds() / 60 - 3
        tasks = self.ask(
            "SELECT id, review_id, updated FROM tasks WHERE project = ? AND updated > ?",
            project_id, after,
        )  # fmt: skip
        question = self.ask("SELECT question FROM projects WHERE id = ?", project_id)[0][0]
        found = [
            self.read(row, review_id, question)
            for task, review_id, _ in tasks
            for row in self.ask("SELECT * FROM annotations WHERE task = ?", task)
        ]
        newest, count = self.ask(
            "SELECT max(updated), count(*) FROM tasks WHERE project = ?", project_id
        )[0]
        return Pulled(
            found,
            frozenset(review_id for _, review_id, _ in tasks),
            None if newest is None else EPOCH + timedelta(minutes=newest),
            since is None,
            count,
        )

    def read(self, row: Any, review_id: str | None, question: str) -> Annotation:
        number, task, person, answer, cancelled, created, updated, seconds, comment = row
        return Annotation(
            review_id,
            task,
            f"annotation-{number}",
            EPOCH + timedelta(minutes=created),
            EPOCH + timedelta(minutes=updated),
            f"person-{person}",
            question,
            None if cancelled else json.loads(answer),
            "skipped" if cancelled else None,
            comment,
            seconds,
            bool(cancelled),
            json.dumps({"id": number}),
        )

    # what people do

    def find_task(self, review_id: str) -> int:
        return int(self.ask("SELECT id FROM tasks WHERE review_id = ?", review_id)[0][0])

    def submit(
        self, review_id: str, person: str, seconds: float = 20.0, *, cancelled: bool = False,
        **answer: Any,
    ) -> int:  # fmt: skip
        now, task = self.tick(), self.find_task(review_id)
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

    def touch(self, annotation: int, now: int) -> None:
        self.ask(
            "UPDATE tasks SET updated = ? WHERE id = (SELECT task FROM annotations WHERE id = ?)",
            now, annotation,
        )  # fmt: skip
