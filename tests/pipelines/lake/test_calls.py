"""Model calls as a stage: what is paid for is kept, what failed is counted, nothing is asked
twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engines.chat import ServerUnreachable
from pipelines.lake.calls import COMMIT_ROWS
from pipelines.lake.catalogue import Lake, LakeError, open_lake
from pipelines.lake.run import new_run
from pipelines.make.rollouts import roll_out
from schemas.ids import make_prompt_id
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.stub_server import run_stub


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def make_prompts(n: int, unlucky: int = 0) -> pl.DataFrame:
    words = ["unlucky"] * unlucky + ["question"] * (n - unlucky)
    messages = [[{"role": "user", "content": f"{w} {i}"}] for i, w in enumerate(words)]
    return pl.DataFrame(
        {
            "prompt_id": [make_prompt_id(m) for m in messages],
            "messages": messages,
            "source": ["seed"] * n,
            "answer": pl.Series([None] * n, dtype=pl.String),
        }
    )


def make_rollout_recipe(url: str, **model: Any) -> Recipe:
    spec = {"model": "stub", "url": url, "concurrency": 64, "max_tries": 2, **model}
    return make_recipe(models={"m": spec}, rollouts=[{"model": "m", "n": 1}], judges=[])


def count(lake: Lake, table: str) -> int:
    return lake.query(f"SELECT count(*) AS n FROM {table}")["n"][0]


def test_one_percent_that_always_fail_are_rows_and_are_retried_only_when_asked(
    lake: Lake,
) -> None:
    prompts = make_prompts(2000, unlucky=20)
    with run_stub(fail_contains="unlucky", status=500) as stub:
        recipe = make_rollout_recipe(stub.url)
        summary = roll_out(lake, new_run(), recipe, prompts)
        assert (summary.rows_in, summary.kept) == (2000, 1980)
        assert summary.dropped == {"call_failed": 20}
        assert summary.extra["failures"] == {"http_500": 20}
        assert (count(lake, "rollouts"), count(lake, "failures")) == (1980, 20)
        asked = stub.stats()["requests"]
        again = roll_out(lake, new_run(), recipe, prompts)
        assert stub.stats()["requests"] == asked
        assert (again.kept, again.dropped) == (1980, {"call_failed": 20})
        retry = roll_out(lake, new_run(retry_failed=True), recipe, prompts)
        assert retry.extra["calls"] == 20
        assert count(lake, "failures") == 40  # a second attempt of each; the first is not lost
    with run_stub() as healthy:
        recipe = make_rollout_recipe(healthy.url)
        healed = roll_out(lake, new_run(retry_failed=True), recipe, prompts)
        assert (healed.kept, healed.dropped, healed.extra["calls"]) == (2000, {}, 20)


def test_failures_once_cost_nothing_visible(lake: Lake) -> None:
    with run_stub(once_rate=0.01, status=500) as stub:
        summary = roll_out(lake, new_run(), make_rollout_recipe(stub.url), make_prompts(500))
        assert stub.stats()["requests"] > 500
    assert (summary.kept, summary.dropped, count(lake, "failures")) == (500, {}, 0)


def test_results_are_committed_before_a_server_dies(lake: Lake) -> None:
    prompts = make_prompts(600)
    with run_stub(delay_ms=20) as stub:
        recipe = make_rollout_recipe(stub.url, concurrency=4, max_tries=1)

        def kill_half_way(stage: str, done: int, total: int) -> None:
            if done >= 300:
                stub.process.kill()

        with pytest.raises(ServerUnreachable, match="what was answered is kept"):
            roll_out(lake, new_run(progress=kill_half_way), recipe, prompts)
    assert 300 <= count(lake, "rollouts") < 600


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize(
    "faults", [{"fail_contains": "question", "status": 429}, {"garbage": True}]
)
def test_an_outage_costs_no_request_its_turn(lake: Lake, n: int, faults: dict[str, Any]) -> None:
    """A server that answers nothing is the fault; a mended one is asked for everything."""
    prompts = make_prompts(n)
    with run_stub(**faults) as stub, pytest.raises(ServerUnreachable, match="answered none of"):
        roll_out(lake, new_run(), make_rollout_recipe(stub.url, max_tries=1), prompts)
    assert (count(lake, "rollouts"), count(lake, "failures")) == (0, 0)
    with run_stub() as healthy:
        mended = roll_out(lake, new_run(), make_rollout_recipe(healthy.url), prompts)
    assert (mended.extra["calls"], mended.kept, mended.dropped) == (n, n, {})


def test_a_few_requests_that_alone_fail_are_failures(lake: Lake) -> None:
    with run_stub(fail_contains="unlucky", status=500) as stub:
        recipe = make_rollout_recipe(stub.url, max_tries=1)
        summary = roll_out(lake, new_run(), recipe, make_prompts(3, unlucky=3))
    assert (summary.dropped, count(lake, "failures")) == ({"call_failed": 3}, 3)


def test_limits_leave_the_rest_for_later(lake: Lake) -> None:
    prompts = make_prompts(50)
    with run_stub() as stub:
        first = roll_out(lake, new_run(), make_rollout_recipe(stub.url), prompts, limit=20)
        assert (first.extra["calls"], first.extra["remaining"]) == (20, 30)
        second = roll_out(lake, new_run(), make_rollout_recipe(stub.url), prompts)
        assert (second.extra["calls"], second.extra["reused"], second.kept) == (30, 20, 50)
        more = roll_out(lake, new_run(), make_rollout_recipe(stub.url), make_prompts(60))
        assert more.extra["calls"] == 10
        assert stub.stats()["repeated"] == 0


def test_a_commit_by_the_clock_that_fails_is_said(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer results than a commit takes: only the clock commits before the end."""
    monkeypatch.setattr("pipelines.lake.calls.COMMIT_SECONDS", 0.2)
    append, failed = lake.append, threading.Event()

    def append_but_once(tables: Any, **about: Any) -> Any:
        if "rollouts" in tables and not failed.is_set():
            failed.set()
            raise LakeError("the disk is full")
        return append(tables, **about)

    monkeypatch.setattr(lake, "append", append_but_once)
    prompts = make_prompts(90)
    with run_stub(delay_ms=40) as stub:
        recipe = make_rollout_recipe(stub.url, concurrency=2)
        with pytest.raises(LakeError, match="the disk is full"):
            roll_out(lake, new_run(), recipe, prompts)
        assert stub.stats()["requests"] < 90  # the stage stopped when it knew
        kept = count(lake, "rollouts")
        again = roll_out(lake, new_run(), recipe, prompts)
        assert (again.kept, again.extra["reused"]) == (90, kept)
    assert count(lake, "rollouts") == 90


def test_commits_come_by_the_clock_and_one_at_a_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake so slow that commits by size, by the clock and at the end meet."""
    monkeypatch.setattr("pipelines.lake.calls.COMMIT_SECONDS", 0.02)
    append, turn = lake.append, threading.Lock()
    sizes: list[int] = []
    shown: list[tuple[int, int]] = []

    def append_slowly(tables: Any, **about: Any) -> Any:
        assert turn.acquire(blocking=False), "two commits at a time"
        try:
            time.sleep(0.3)
            sizes.append(len(tables.get("rollouts", ())))
            return append(tables, **about)
        finally:
            turn.release()

    monkeypatch.setattr(lake, "append", append_slowly)
    run = new_run(progress=lambda _, done, total: shown.append((done, total)))
    with run_stub(delay_ms=100) as stub:  # 64 at a time: the clock strikes before there are 150
        summary = roll_out(lake, run, make_rollout_recipe(stub.url), make_prompts(200))
    assert 0 < sizes[0] < COMMIT_ROWS
    assert sum(sizes) == count(lake, "rollouts") == summary.kept == 200
    assert shown[-1] == (200, 200)


def test_a_retry_in_chunks_takes_each_failure_once(lake: Lake) -> None:
    """As the flow does: the same run asks for chunks until nothing remains."""
    prompts = make_prompts(60, unlucky=25)
    with run_stub(fail_contains="unlucky", status=400) as stub:
        recipe = make_rollout_recipe(stub.url)
        roll_out(lake, new_run(), recipe, prompts)
        asked = stub.stats()["requests"]
        run, parts = new_run(retry_failed=True), []
        while not parts or parts[-1].extra["remaining"]:
            assert len(parts) < 5, "the same failures again and again"
            parts.append(roll_out(lake, run, recipe, prompts, limit=10))
        assert stub.stats()["requests"] == asked + 25
    assert [part.extra["calls"] for part in parts] == [10, 10, 5]
    assert [part.extra["remaining"] for part in parts] == [15, 5, 0]
    failures = sum((Counter(part.extra["failures"]) for part in parts), Counter())
    assert failures == {"http_400": 25}
    assert (parts[-1].rows_in, parts[-1].kept) == (60, 35)
    assert parts[-1].dropped == {"call_failed": 25}
    assert set(lake.query("SELECT attempt, count(*) FROM failures GROUP BY ALL").rows()) == {
        (1, 25), (2, 25)
    }  # fmt: skip
