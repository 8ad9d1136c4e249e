"""Pushing to a real Label Studio and pulling from it, beside the server's own import and export.

`python -m benchmarks.desk [--tasks 10000] [--rounds 3]`

The server is started in a home of its own, which is thrown away afterwards. A push (from the lake's
queue to reviews that are noted as pushed, each with a judge's prediction that was checked) may take
twice as long as the bare import of the same JSON in one request; the two take turns, in new
projects, and the median of the ratios of the rounds counts. A pull of `NEW` new annotations among
twice as many tasks, half of which were answered and pulled before, may take 10 s longer than the
server's own export of the tasks that hold them, and is shown beside the export of all that is
answered. (Agreement over 200,000 annotations: `python -m benchmarks.people`.)

CPU seconds are those of this process and of the server together: they show what a busy machine adds
to the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from annotators.desk import (
    Desk,
    connect_desk,
    ensure_project,
    make_task,
    read_guideline,
)
from annotators.desk import tasks as desk_tasks
from annotators.desk.annotations import IDS
from annotators.desk.answers import write_answer
from annotators.desk.client import ask, speak_to
from benchmarks.people_loop import fill_lake
from engines.assets import assay_home
from engines.services import start_service, stop_service
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.tasks import find_texts
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_judgment_id
from schemas.recipe import ReviewSpec

NEW = 1_000
THREADS = 8
PUSH_LIMIT = 2.0  # times the bare import
PULL_LIMIT = 10.0  # seconds beside the server's export
SHOWN = ReviewSpec(show_predictions=True)


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and CPU seconds of this process and the server."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s (CPU {self.cpu:.1f})"


@dataclass(frozen=True)
class Server:
    """The desk, and its process."""

    desk: Desk
    process: psutil.Process

    def measure(self, work: Callable[[], Any]) -> Cost:
        """What `work` takes."""
        before = self._look()
        work()
        return self._look() - before

    def _look(self) -> Cost:
        spent = self.process.cpu_times()
        return Cost(time.perf_counter(), time.process_time() + spent.user + spent.system)


def main() -> None:
    """Print every round and the ratios; end with an error where one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000, help="in a push [default: 10000]")
    parser.add_argument("--rounds", type=int, default=3, help="of pushes [default: 3]")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_server(Path(folder) / "home") as server:
        place = Path(folder)
        with speak_to(server.desk) as client:
            release = ask(client, "GET", "/api/version")["release"]
        versions = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "httpx", "polars"))
        machine = platform.processor() or platform.machine()
        print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, "
              f"Label Studio {release} (SQLite), {versions}")  # fmt: skip
        compare_push(server, place / "warm", 100)  # the first of all is slower
        print(f"push {chosen.tasks:,} tasks with predictions:")
        ratios = []
        for number in range(1, chosen.rounds + 1):
            ours, bare = compare_push(server, place / f"push-{number}", chosen.tasks)
            ratios.append(ours.wall / bare.wall)
            print(f"  round {number}: Assay {ours}, one bare import {bare}, "
                  f"ratio {ratios[-1]:.2f} (CPU {ours.cpu / bare.cpu:.2f})")  # fmt: skip
        ratio = statistics.median(ratios)
        print(f"  median ratio {ratio:.2f} (at most {PUSH_LIMIT:.0f})")
        beside = compare_pull(server, place / "pull", 2 * chosen.tasks, min(NEW, chosen.tasks))
    missed = [f"a push takes {ratio:.2f} times a bare import"] if ratio > PUSH_LIMIT else []
    missed += [f"a pull takes {beside:.1f} s beside the export"] if beside > PULL_LIMIT else []
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


@contextmanager
def start_server(home: Path) -> Iterator[Server]:
    """A Label Studio with no project, in a home that borrows the installed environment."""
    home.mkdir()
    (home / "envs").symlink_to(assay_home() / "envs")
    os.environ["ASSAY_HOME"] = str(home)
    service = start_service("label-studio")
    try:
        desk = connect_desk(service.url, service.token or "", local=True)
        yield Server(desk, psutil.Process(service.pid))
    finally:
        stop_service(service)


def compare_push(server: Server, place: Path, tasks: int) -> tuple[Cost, Cost]:
    """What a push costs, and then a bare import of all that it sent."""
    title = place.name.capitalize()
    with open_lake(place) as lake, record_imports() as sent:
        fill_lake(lake, tasks)
        judge_pairs(lake)
        ours = server.measure(lambda: push(lake, server.desk, title, tasks))
    project = ensure_project(server.desk, f"Bare {title}", "preference", show_predictions=True)
    with speak_to(server.desk) as client:
        path = f"/api/projects/{project}"
        bare = server.measure(
            lambda: ask(client, "POST", f"{path}/import", json=sent, timeout=None)
        )
        held = ask(client, "GET", path)
    counts = (held["task_number"], held["total_predictions_number"], len(sent))
    assert counts == (tasks, tasks, tasks), counts
    return ours, bare


def compare_pull(server: Server, place: Path, tasks: int, new: int) -> float:
    """The seconds that a pull of `new` annotations takes more than the export of their tasks."""
    print(f"pull {new:,} new annotations of {tasks:,} tasks, half of them answered before:")
    desk, measure = server.desk, server.measure
    with open_lake(place) as lake:
        fill_lake(lake, tasks)
        project = ensure_project(desk, "Pull", "preference")
        answered = find_reviews(lake).head(tasks // 2)
        import_answered(desk, project, lake, answered)
        print(f"  push of the other half: {measure(lambda: push(lake, desk, 'Pull', tasks))}")
        first = measure(lambda: pull(lake, desk, tasks // 2))
        print(f"  first pull, of {tasks // 2:,}: {first}")
        rest = find_reviews(lake).join(answered, on="review_id", how="anti").head(new)
        ids = rest["task_id"].to_list()
        made = measure(lambda: annotate(desk, ids))
        print(f"  {new:,} annotations made, {new / made.wall:.1f} a second")
        everything = measure(lambda: export(desk, project, tasks // 2 + new))
        theirs = measure(
            lambda: [
                export(desk, project, len(part), part)
                for part in (ids[start : start + IDS] for start in range(0, new, IDS))
            ]
        )
        ours = measure(lambda: pull(lake, desk, new))
        again = measure(lambda: pull(lake, desk, 0))
        whole = measure(lambda: pull(lake, desk, 0, full=True))
    print(f"  Assay {ours}, the server's export of the {new:,} tasks {theirs}, of all that is "
          f"answered {everything}")  # fmt: skip
    print(f"  once more, nothing new: {again}; all read again: {whole}")
    print(f"  beside the export: {ours - theirs} (at most {PULL_LIMIT:.0f} s)")
    return ours.wall - theirs.wall


def push(lake: Lake, desk: Desk, title: str, tasks: int) -> None:
    """The queue of a lake to a new project."""
    summary = push_reviews(lake, new_run(), desk, SHOWN, title=title)
    assert summary.to_review == tasks, summary


def pull(lake: Lake, desk: Desk, new: int, **settings: Any) -> None:
    """A pull that brings so many new revisions."""
    summary = pull_reviews(lake, new_run(), desk, **settings)
    assert summary.extra["new"] == new, summary


@contextmanager
def record_imports() -> Iterator[list[Any]]:
    """The tasks that pushes import meanwhile, as they are sent."""
    sent: list[Any] = []

    def record(client: Any, method: str, path: str, **options: Any) -> Any:
        if path.endswith("/import"):
            sent.extend(options["json"])
        return ask(client, method, path, **options)

    desk_tasks.ask = record
    try:
        yield sent
    finally:
        desk_tasks.ask = ask


def judge_pairs(lake: Lake) -> None:
    """A judge's opinion in both orders on every pair that is queued."""
    rows = []
    for place, row in enumerate(find_reviews(lake).iter_rows(named=True)):
        rows += [
            {"judgment_id": make_judgment_id("judge", row["pair_id"], criterion=None, order=order,
                                             sample_index=0, origin="made"),
             **{name: row[name] for name in ("prompt_id", "response_a", "response_b")},
             "annotator": "judge", "kind": "llm", "order": order, "sample_index": 0,
             "p_a": place % 100 / 99, "tie": False, "valid": True}
            for order in ("ab", "ba")
        ]  # fmt: skip
    lake.append({"judgments": rows}, run=new_run(), stage="made")


def import_answered(desk: Desk, project: int, lake: Lake, reviews: pl.DataFrame) -> None:
    """Tasks of these reviews with an answer each, which a push then finds there."""
    texts = find_texts(lake, reviews, read_guideline)
    answer = {"choice": "left", "strength": 1}
    rows = []
    for review_id in reviews["review_id"]:
        data = make_task("preference", review_id, **texts[review_id])
        result = write_answer("preference", data, answer)
        rows.append({"data": data, "annotations": [{"result": result, "lead_time": 30.0}]})
    with speak_to(desk) as client:
        for start in range(0, len(rows), 1000):
            part = rows[start : start + 1000]
            ask(client, "POST", f"/api/projects/{project}/import", json=part)


def annotate(desk: Desk, task_ids: list[int]) -> None:
    """An answer to each task."""
    body = {"result": write_answer("preference", {}, {"choice": "right", "strength": 2}),
            "lead_time": 30.0}  # fmt: skip
    with speak_to(desk) as client, ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(
            lambda i: ask(client, "POST", f"/api/tasks/{i}/annotations/", json=body), task_ids
        ):
            pass


def export(desk: Desk, project: int, expected: int, ids: Sequence[int] = ()) -> None:
    """The server's export of these tasks, or of all that is answered."""
    with speak_to(desk) as client:
        params = [("exportType", "JSON"), *(("ids[]", str(i)) for i in ids)]
        path = f"/api/projects/{project}/export"
        exported = ask(client, "GET", path, params=params, timeout=None)
    assert len(exported) == expected, (len(exported), expected)


if __name__ == "__main__":
    main()
