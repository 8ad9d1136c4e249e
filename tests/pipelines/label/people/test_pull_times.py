"""Two pulls at once, a clock that is set, the second of the last pull: each answer comes once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.label.people.pushing import push_reviews
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from tests.conftest import ROOT
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import (
    answer_as,
    fill_lake,
    list_counted,
    list_pushed,
    open_desk,
    pull,
)

PULL = """
import sys
from pipelines.label.people import pulling
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from tests.pipelines.label.people.fake_desk import FakeDesk

folder = sys.argv[1]
pulling.at_desk = desk = FakeDesk(f"{folder}/desk.sqlite", pause=1.0)
with open_lake(f"{folder}/lake", create=False) as lake:
    print("ready", flush=True)
    sys.stdin.readline()
    print(pulling.pull_reviews(lake, new_run(), desk).extra["new"])
"""


def test_two_processes_that_pull_at_once_bring_each_answer_once(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path / "desk.sqlite")
    with open_lake(tmp_path / "lake") as lake, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.label.people.pushing.at_desk", desk)
        fill_lake(lake, 20)
        push_reviews(lake, new_run(), desk)
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", "a")
    pulls = [
        subprocess.Popen(
            [sys.executable, "-c", PULL, str(tmp_path)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in pulls:
        assert process.stdout and process.stdout.readline() == "ready\n"
    heard = [""] * 2
    threads = [
        threading.Thread(target=lambda i=i, p=p: heard.__setitem__(i, p.communicate("\n")[0]))
        for i, p in enumerate(pulls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(map(int, heard)) == [0, 20]
    with open_lake(tmp_path / "lake") as lake:
        assert len(lake.query("FROM judgments WHERE starts_with(annotator, 'person-')")) == 20
        assert len(lake.query("FROM runs WHERE stage = 'review_pull'")) == 1


@pytest.mark.parametrize("minutes", [-100, -10, 100])
def test_a_clock_of_the_desk_that_is_set_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6)
        push_reviews(lake, new_run(), desk)
        for _ in range(150):
            desk.tick()
        first, second, third, fourth, *_ = list_pushed(lake)
        mine = answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        desk.set_clock(minutes)
        desk.revise(mine, choice="tie", strength=0)  # of an earlier time than what it replaces
        answer_as(desk, lake, second, "ada", "a")
        pull(lake, desk)
        assert [p_a for _, p_a in list_counted(lake)] == [0.5, 1.0]
        answer_as(desk, lake, third, "ada", "a")
        pull(lake, desk)
        assert len(list_counted(lake)) == 3
        for _ in range(200):  # past the time at which it was set
            desk.tick()
        answer_as(desk, lake, fourth, "ada", "a")
        pull(lake, desk)
        assert len(list_counted(lake)) == 4
        assert pull(lake, desk, full=True)[0].extra["new"] == 0


def test_what_was_said_in_the_second_of_the_last_pull_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        first, second = list_pushed(lake)
        answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        monkeypatch.setattr(desk, "tick", lambda: desk.ask("SELECT now FROM clock")[0][0])
        answer_as(desk, lake, second, "ada", "a")  # the clock has not moved
        assert pull(lake, desk)[0].extra["new"] == 1
