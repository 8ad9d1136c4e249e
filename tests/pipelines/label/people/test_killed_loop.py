"""Push and pull, killed at random moments and run again, end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipelines.lake.catalogue import open_lake
from schemas.tables import TABLES, key_columns
from tests.conftest import ROOT
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import answer_as, fill_lake, list_pushed
from tests.pipelines.label.people.test_pulling import list_standing

STEP = textwrap.dedent("""
    import sys
    from pipelines.label.people import assessing, pulling, pushing
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from schemas.recipe import ReviewSpec
    from tests.pipelines.label.people.fake_desk import FakeDesk

    step, folder = sys.argv[1:]
    desk = FakeDesk(f"{folder}/desk.sqlite", chunk=5, pause=0.02)
    pushing.at_desk = pulling.at_desk = desk
    spec = ReviewSpec(overlap=2, gold_rate=0.2, minutes=60)  # not all that waits fits in
    print("ready", flush=True)
    with open_lake(f"{folder}/lake", create=False) as lake:
        if step == "push":
            pushing.push_reviews(lake, new_run(), desk, spec)
        else:
            pulling.pull_reviews(lake, new_run(), desk)
            assessing.assess_batches(lake, new_run(), spec)
""")


def run_step(folder: Path, step: str, kill_after: float | None = None) -> bool:
    """Whether the step came to its end before it was killed, `kill_after` seconds in."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, step, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=120)
    assert code in (0, -signal.SIGKILL)
    return code == 0


def prepare(folder: Path) -> None:
    folder.mkdir()
    FakeDesk(folder / "desk.sqlite")
    with open_lake(folder / "lake") as lake:
        fill_lake(lake, 80, gold=20)


def annotate(folder: Path) -> None:
    desk = FakeDesk(folder / "desk.sqlite")
    with open_lake(folder / "lake") as lake:
        reviews = list_pushed(lake)
    for place, review in enumerate(reviews):
        for person in ("ada", "bob"):
            answer_as(desk, lake, review, person, "ab"[(place + (person == "bob")) % 2])
    desk.delete(1)
    desk.revise(2, choice="tie", strength=0)


def look(folder: Path) -> dict[str, object]:
    """Counts in both systems, and what stands of what was said."""
    desk = FakeDesk(folder / "desk.sqlite")
    with open_lake(folder / "lake") as lake:
        for table in TABLES:
            keys = ", ".join(key_columns(table))
            assert lake.query(
                f"SELECT {keys} FROM {table} GROUP BY ALL HAVING count(*) > 1"
            ).is_empty()
        counts = lake.query(
            "SELECT status, role, count(*) AS n FROM reviews GROUP BY ALL ORDER BY ALL"
        )
        return {
            "tasks": desk.ask("SELECT review_id FROM tasks ORDER BY review_id"),
            "batches": lake.query("SELECT batch_id, reviews, gold FROM batches").rows(),
            "reviews": counts.rows(),
            # without their times: the desk's clock moves on in an import that is cut off, too
            "standing": [row[:7] + row[8:] for row in list_standing(lake)],
        }


def check_kills(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    calm = folder / "calm"
    prepare(calm)
    started = time.monotonic()
    run_step(calm, "push")
    longest = time.monotonic() - started
    annotate(calm)
    run_step(calm, "pull")
    expected = look(calm)
    assert len(expected["standing"]) > 50
    assert expected["batches"][0][1] < 80  # a second batch would have something to send
    for number in range(kills):
        place = folder / f"kill-{number}"
        prepare(place)
        for step in ("push", "pull"):
            killed = rng.uniform(0, longest)
            run_step(place, step, killed)
            run_step(place, step)
            run_step(place, step)  # as by somebody who saw no end of the last one
            if step == "push":
                assert look(place)["tasks"] == expected["tasks"], (
                    f"push killed after {killed:.2f} s"
                )
                annotate(place)
        assert look(place) == expected, f"killed, last after {killed:.2f} s (seed {seed})"


@pytest.mark.timeout(600)
def test_a_kill_of_each_step_changes_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 1, seed=random.randrange(2**31))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 20, seed=random.randrange(2**31))
