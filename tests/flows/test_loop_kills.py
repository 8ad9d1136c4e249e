"""A loop that is killed between any two iterations and started again ends as if nothing had
happened: the same iterations, the same readings, the same version."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.label.loop.progress import find_iterations, name_loop
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.calls import UNCOMMITTED
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from pipelines.steps import open_work, publish_settled, run_step, settle
from schemas.recipe import Recipe
from tests.conftest import ROOT, write_recipe
from tests.pipelines.label.loop.planted_pool import (
    DIMENSIONS,
    make_pool_recipe,
    plant_pool,
    use_numbers,
    write_pool,
)
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import answer_as, list_pushed
from tests.stub_server import Stub, run_stub

IN_FLIGHT = 16
NOTHING = " ".join(["0"] * DIMENSIONS)  # the second response of each planted pair
STAMPS = ("run_id", "created_at")
NUMBERS = textwrap.dedent("""
    import pytest
    from flows.cli import main
    from tests.pipelines.label.loop.planted_pool import use_numbers

    use_numbers(pytest.MonkeyPatch())
    main()
""")
DONE = re.compile(r"iteration \d+ \(\w+\): the best probe")
COMMITTED = re.compile(
    r"iteration \d+ (\(\w+\): (\d+ pairs to judge|the best probe)|waits for people)"
)


@dataclass(frozen=True)
class Planted:
    """A recipe over a planted pool, as a file, and the texts that are the better of two."""

    recipe: Recipe
    file: Path
    better: frozenset[str]

    def finish(self, lake: Path) -> dict[str, Any]:
        """Go on to a version: all that the loop comes to, without the runs that did it and the time
        that it took."""
        with open_work(str(lake), self.recipe, None) as work:
            run_step(work, "import")
            settle(work, until="verify")
            run_step(work, "judge")
            version = publish_settled(work, settle(work))
            rows = find_iterations(work.lake, name_loop(self.recipe))
            readings = work.lake.query("FROM readings").drop(STAMPS)
            return {
                "iterations": [{**row, "seconds": 0.0} for row in rows],
                "readings": readings.sort("scope", "pair_id").rows(),
                "fingerprint": version.fingerprint,
            }

    def list_done(self, lake: Path) -> list[str]:
        """The kinds of the iterations that are done, of which only the last may be followed by
        another that was begun."""
        with open_lake(str(lake), create=False) as opened:
            rows = find_iterations(opened, name_loop(self.recipe))
        done = [row["kind"] for row in rows if row["status"] == "done"]
        assert len(rows) - len(done) <= 1
        return done


def plant(folder: Path, url: str, *, pairs: int, gold: int, **changes: Any) -> Planted:
    """A pool with a judge at `url` that is right on 85 % of it."""
    pool = plant_pool(pairs, judges=1, accuracy=0.85)
    source = write_pool(folder / "pool.jsonl", pool, gold=gold, worths=True)
    recipe = make_pool_recipe(
        source,
        models={"m": {"model": "stub", "url": url, "concurrency": IN_FLIGHT}},
        judges=[{"name": "judge", "model": "m"}],
        **{"loop": {"iterations": 2, "neighbours": 2}, **changes},
    )
    numbers = [" ".join(f"{x:.6f}" for x in row) for row in pool.apart]
    better = frozenset(text for text, wins in zip(numbers, pool.truth, strict=True) if wins)
    return Planted(recipe, write_recipe(folder / "recipe.yaml", recipe), better)


def run_until(
    pattern: re.Pattern[str], seen: set[str], start: list[str], *arguments: str | Path
) -> int:
    """Kill a command where it first writes something that matches and is not in `seen`, where it
    then is; its exit code."""
    process = subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    said = []
    with process.stderr:
        for line in process.stderr:
            said.append(line)
            found = pattern.match(line)
            if found and found[0] not in seen:
                seen.add(found[0])
                process.send_signal(signal.SIGKILL)
                break
        code = process.wait()
    assert code in (-signal.SIGKILL, 0) or "wait for people" in said[-1], "".join(said)
    return code


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub(judges=True, delay_ms=20) as running:
        yield running


def test_killed_after_each_of_its_first_iterations(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    planted = plant(tmp_path, stub.url, pairs=160, gold=90)
    calm, lake = tmp_path / "calm", tmp_path / "lake"
    asked = [stub.stats()["requests"]]
    expected = planted.finish(calm)
    asked.append(stub.stats()["requests"])
    assert len(expected["iterations"]) > 2 and expected["readings"]
    with open_work(str(lake), planted.recipe, None) as work:  # seconds that a child need not spend
        run_step(work, "import")
        settle(work, until="verify")
    seen: set[str] = set()
    for killed in (1, 2):
        command = ("loop", planted.file, "--lake", lake)
        assert run_until(DONE, seen, ["-c", NUMBERS], *command) == -signal.SIGKILL
        assert len(planted.list_done(lake)) == killed
    assert planted.finish(lake) == expected
    asked.append(stub.stats()["requests"])
    calls = [after - before for before, after in pairwise(asked)]
    assert 0 <= calls[1] - calls[0] <= 2 * (UNCOMMITTED + IN_FLIGHT)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_after_whatever_it_commits_with_people_in_it(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a pool without gold to a version, a kill at every line that says an iteration is
    planned, waits or is done; people answer what it asks between the runs."""
    planted = plant(tmp_path, stub.url, pairs=400, gold=0,
                    loop={"iterations": 3, "neighbours": 2, "minutes": 40})  # fmt: skip
    expected = run_with_people(planted, tmp_path / "calm", re.compile("nothing"), monkeypatch)
    kinds = [row["kind"] for row in expected["iterations"]]
    assert kinds[:2] == ["gold", "retrieval"] and kinds[-1] == "rejudging"
    assert expected["kills"] == 0 and sum(row["minutes"] for row in expected["iterations"]) > 0
    waiting = sum(
        row["kind"] == "retrieval" and bool(row["asked"]) for row in expected["iterations"]
    )
    assert waiting
    found = run_with_people(planted, tmp_path / "killed", COMMITTED, monkeypatch)
    assert found == {**expected, "kills": 2 * len(kinds) + waiting}


def run_with_people(
    planted: Planted, folder: Path, pattern: re.Pattern[str], patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a loop comes to that is killed wherever it writes `pattern`, whose people answer
    whenever a run has ended; and the number of `kills`."""
    folder.mkdir()
    use_numbers(patch)
    lake, seen = folder / "lake", set[str]()
    command = ("loop", planted.file, "--lake", lake)
    desk = FakeDesk(folder / "desk.sqlite")
    for module in ("pushing", "pulling"):
        patch.setattr(f"pipelines.label.people.{module}.at_desk", desk)
    while True:
        while run_until(pattern, seen, ["-c", NUMBERS], *command) == -signal.SIGKILL:
            pass
        if not answer(planted, lake, desk):
            return {**planted.finish(lake), "kills": len(seen)}


def answer(planted: Planted, folder: Path, desk: FakeDesk) -> int:
    """Somebody settles all that waits for people, rightly; how many pairs that were."""
    spec = planted.recipe.review
    with open_lake(str(folder), create=False) as lake:
        pushed = push_reviews(lake, new_run(), desk, spec)
        texts = dict(lake.query("SELECT response_id, content FROM responses").iter_rows())
        for review in list_pushed(lake):
            if review["status"] == "pushed":
                sides = [texts[review[f"response_{side}"]].splitlines()[-1] for side in "ab"]
                is_a = (sides[0] != NOTHING) == bool(planted.better & set(sides))
                answer_as(desk, lake, review, "ada", "a" if is_a else "b")
        pull_reviews(lake, new_run(), desk)
        assess_batches(lake, new_run(), spec)
        if pushed.to_review:
            release_batch(lake, new_run(), pushed.extra["batch"], "Mira Olsen", spec)
    return pushed.to_review
