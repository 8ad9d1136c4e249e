"""Pushing to people and pulling what they said, beside the desk's own time.

`python -m benchmarks.people_loop`

A lake of `TASKS` pairs is pushed whole, `BEFORE` answers are pulled, and then `NEW` more, once by
what changed and once by reading everything. The desk is one in memory, which costs next to nothing:
what is measured is the lake's side.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from annotators.desk import Annotation, Held, Pulled, make_task, read_guideline
from pipelines.label.people import pulling, pushing
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_id, make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import ReviewSpec

TASKS = 20_000
BEFORE = 10_000
NEW = 1_000
LIMIT = 10.0  # seconds that a pull of NEW may take beside the desk's own
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class MemoryDesk:
    """The functions of `annotators.desk` over a dictionary."""

    name = "memory"
    make_task = staticmethod(make_task)
    read_guideline = staticmethod(read_guideline)

    def __init__(self) -> None:
        self.tasks: dict[str, int] = {}
        self.answers: dict[str, Annotation] = {}

    def ensure_project(self, *_: Any, **__: Any) -> int:
        return 1

    def push_tasks(
        self, _desk: Any, _project: int, tasks: Sequence[Mapping[str, Any]], *_: Any, **__: Any
    ) -> dict[str, int]:
        for task in tasks:
            self.tasks.setdefault(task["review_id"], len(self.tasks) + 1)
        return {task["review_id"]: self.tasks[task["review_id"]] for task in tasks}

    def pull_annotations(
        self, _desk: Any, _project: int, *, since: Held | None = None, **_: Any
    ) -> Pulled:
        after = since.newest if since else None
        found = [a for a in self.answers.values() if after is None or a.updated_at > after]
        newest = max((a.updated_at for a in self.answers.values()), default=EPOCH)
        reviews = frozenset(a.review_id or "" for a in found)
        tasks = frozenset(a.task_id or 0 for a in found)
        held = Held(newest, len(self.tasks), len(self.tasks))
        return Pulled(found, reviews, tasks, after is None, frozenset(), held)

    def answer(self, review_id: str) -> None:
        number = len(self.answers)
        at = EPOCH + timedelta(seconds=number)
        self.answers[review_id] = Annotation(
            review_id, self.tasks[review_id], f"annotation-{number}", at, at,
            f"person-{number % 12}", "preference",
            {"choice": ("left", "right", "tie")[number % 3], "strength": (1, 2, 0)[number % 3],
             "undecided": False, "ratings": {}, "tools": []},
            None, None, 20.0 + number % 40, False, '{"id": 1}',
        )  # fmt: skip


def main() -> None:
    """Print seconds."""
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}")
    desk: Any = MemoryDesk()
    pushing.at_desk = pulling.at_desk = desk
    with tempfile.TemporaryDirectory() as place, open_lake(Path(place) / "lake") as lake:
        fill_lake(lake, TASKS)
        report(f"push {TASKS:,} tasks", lambda: pushing.push_reviews(lake, new_run(), desk))
        ids = find_reviews(lake)["review_id"].to_list()
        for review_id in ids[:BEFORE]:
            desk.answer(review_id)
        report(f"pull the first {BEFORE:,} answers", lambda: pull(lake, desk))
        for review_id in ids[BEFORE : BEFORE + NEW]:
            desk.answer(review_id)
        seconds = report(f"pull {NEW:,} new answers of {TASKS:,} tasks", lambda: pull(lake, desk))
        print(f"{'':<50}at most {LIMIT:.0f} s: {'met' if seconds <= LIMIT else 'MISSED'}")
        report("pull everything again, nothing new", lambda: pull(lake, desk, full=True))
        report("assess the batch", lambda: assess_batches(lake, new_run(), ReviewSpec()))


def pull(lake: Lake, desk: Any, **settings: Any) -> None:
    """A pull as the flow does it."""
    summary = pulling.pull_reviews(lake, new_run(), desk, **settings)
    print(f"  read {summary.rows_in:,}, new {summary.extra['new']:,}")


def report(what: str, work: Callable[[], Any]) -> float:
    """Time `work` and print it."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(f"{what:<50}{seconds:6.2f} s")
    return seconds


def fill_lake(lake: Lake, pairs: int) -> None:
    """Queued pairs of two responses of some hundred characters."""
    prompts, responses, reviews = [], [], []
    for number in range(pairs):
        messages = [{"role": "user", "content": f"Question {number}: " + "why is it so? " * 20}]
        prompt_id = make_prompt_id(messages)
        texts = [f"Answer {side} to {number}. " + "Because of this. " * 30 for side in "xy"]
        first, second = sorted(make_response_id(prompt_id, text) for text in texts)
        pair_id = make_pair_id(prompt_id, first, second)
        prompts.append({"prompt_id": prompt_id, "messages": messages, "source": "made",
                        "category": f"c{number % 10}", "licence": "mit"})  # fmt: skip
        responses += [
            {"response_id": make_response_id(prompt_id, t), "prompt_id": prompt_id, "content": t}
            for t in texts
        ]
        reviews.append({"review_id": make_id("review", pair_id, "preference"), "status": "queued",
                        "pair_id": pair_id, "prompt_id": prompt_id, "response_a": first,
                        "response_b": second, "left": "ab"[number % 2]})  # fmt: skip
    tables = {"prompts": prompts, "responses": responses, "reviews": reviews}
    lake.append(tables, run=new_run(), stage="made")


if __name__ == "__main__":
    main()
