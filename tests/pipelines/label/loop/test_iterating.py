"""The iterations of the loop through the lake: what is fetched, what it costs, when it ends, whom
it waits for, and that a kill changes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.loop.stacking import LEAST_GOLD, TooLittleGold
from pipelines.label.loop import iterating
from pipelines.label.loop.iterating import choose_kind, is_rising
from pipelines.label.loop.plans import REVIEW
from pipelines.label.loop.progress import write_iteration
from pipelines.label.people.targets import list_targets
from pipelines.steps import Work, run_step, settle
from schemas.looping import LoopSpec
from tests.conftest import ROOT
from tests.pipelines.label.loop.loop_lake import (
    list_rows,
    make_loop_recipe,
    open_loop,
    release,
)
from tests.pipelines.label.loop.planted_pool import (
    use_numbers,
)
from tests.stub_server import Stub, run_stub


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    use_numbers(monkeypatch)


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub(judges=True) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, stub: Stub) -> list[dict[str, Any]]:
    """The iterations of a loop that nobody killed, after what they are was looked at."""
    folder = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        use_numbers(patch)
        with open_loop(folder, make_loop_recipe(folder, stub.url)) as work:
            check_calm(work)
            return [{**row, "seconds": 0.0} for row in list_rows(work)]


def test_gold_first_then_neighbours_of_errors_then_the_rest(calm: list[dict[str, Any]]) -> None:
    assert len(calm) > 2


def check_calm(work: Work) -> None:
    summary = run_step(work, "judge")
    rows = list_rows(work)
    assert [row["status"] for row in rows] == ["done"] * len(rows)
    kinds = [row["kind"] for row in rows]
    assert kinds[0] == "gold" and kinds[1] == "retrieval" and kinds[-1] == "rejudging"
    every = [key for row in rows for key in row["pair_ids"]]
    assert len(every) == len(set(every))  # nothing is judged twice
    assert summary.extra["calls"] == 2 * len(every) == sum(row["verdicts"] for row in rows)
    view = work.look()
    evidence = view.evidence
    places = dict(evidence.pairs.select("pair_id", "truth").iter_rows())
    assert all(places[key] is not None for key in rows[0]["pair_ids"])
    split = dict(evidence.pairs.select("pair_id", "split").iter_rows())
    fetched = rows[1]["pair_ids"]
    assert fetched and all(places[k] is None and split[k] == "train" for k in fetched)
    assert 0 < rows[0]["accuracy_low"] < rows[0]["accuracy"] < rows[0]["accuracy_high"]
    assert rows[-1]["ended"] is not None
    again = run_step(work, "judge")
    assert again.extra["calls"] == 0 and len(list_rows(work)) == len(rows)
    settle(work)
    assert len(work.look().labels.filter(pl.col("tier") == "silver"))


class Killed(Exception):
    """Stands for the end of a process."""


def test_killed_between_any_two_commits_it_comes_to_the_same(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, calm: list[dict[str, Any]]
) -> None:
    """Every commit of the loop is the last one of a run once; so is every half of its calls."""
    runs = 0
    with open_loop(tmp_path, make_loop_recipe(tmp_path, stub.url)) as work:
        while True:
            runs += 1
            assert runs < 40

            def commit_and_die(*args: Any, **changes: Any) -> Any:
                write_iteration(*args, **changes)
                raise Killed

            with monkeypatch.context() as patch:
                if not list_rows(work) or list_rows(work)[-1]["kind"] != "rejudging":
                    patch.setattr(iterating, "write_iteration", commit_and_die)
                try:
                    left = run_step(work, "judge", 33).extra["remaining"]
                except Killed:
                    continue
            if not left:
                break
        killed = [{**row, "seconds": 0.0} for row in list_rows(work)]
    assert runs > 2 * (len(calm) - 1) and killed == calm


CHILD = """
import sys
from pathlib import Path
import pytest
from pipelines.steps import run_step
from tests.pipelines.label.loop.planted_pool import use_numbers
from tests.pipelines.label.loop.loop_lake import make_loop_recipe, open_loop

use_numbers(pytest.MonkeyPatch())
folder = Path(sys.argv[1])
with open_loop(folder, make_loop_recipe(folder, sys.argv[2])) as work:
    run_step(work, "judge")
"""


@pytest.mark.soak
def test_a_process_killed_in_the_middle_is_taken_up(
    tmp_path: Path, calm: list[dict[str, Any]]
) -> None:
    """SIGKILL while the neighbours of gold errors are being judged."""
    with run_stub(judges=True, delay_ms=40) as slow:
        code = [sys.executable, "-c", CHILD, str(tmp_path), slow.url]
        child = subprocess.Popen(code, cwd=ROOT)
        while slow.stats()["requests"] < 150 and child.poll() is None:
            time.sleep(0.02)
        assert child.poll() is None
        child.kill()
        child.wait()
        with open_loop(tmp_path, make_loop_recipe(tmp_path, slow.url)) as work:
            run_step(work, "judge")
            assert [{**row, "seconds": 0.0} for row in list_rows(work)] == calm


def test_a_loop_that_asks_people_waits_for_them_and_nobody_waits_here(
    tmp_path: Path, stub: Stub
) -> None:
    recipe = make_loop_recipe(
        tmp_path, stub.url, loop={"iterations": 1, "neighbours": 2, "minutes": 5}
    )
    with open_loop(tmp_path, recipe) as work:
        waiting = run_step(work, "judge").extra["waiting"]
        row = list_rows(work)[-1]
        assert row["status"] == "waiting" and waiting == len(row["asked"]) > 2
        reviews = work.lake.query("SELECT * FROM reviews WHERE reason = 'gold_loop'")
        assert sorted(reviews["pair_id"]) == row["asked"]
        assert reviews["expected_seconds"].sum() <= 5 * 60
        settle(work)  # the run goes on with what there is
        assert run_step(work, "judge").extra["calls"] == 0
        rows = [
            {"batch_id": "b", "review_id": r["review_id"], "pair_id": r["pair_id"],
             "outcome": "gold" if place else "discarded", "tie": False, "annotators": [],
             "approved_by": "test", "gates": "{}"}
            for place, r in enumerate(reviews.iter_rows(named=True))
        ]  # fmt: skip
        work.lake.append({"releases": rows}, run=work.run, stage="test")
        assert run_step(work, "judge").extra["waiting"] == 0
        assert [r["status"] for r in list_rows(work)] == ["done"] * 3


def test_without_judges_people_alone_are_asked_and_nothing_counts_as_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iterating, "is_rising", lambda rows, accuracy, n: len(rows) < 2)
    recipe = make_loop_recipe(
        tmp_path, "http://127.0.0.1:9/v1", judges=[],
        loop={"iterations": 4, "neighbours": 8, "minutes": 3},
    )  # fmt: skip
    with open_loop(tmp_path, recipe) as work:
        while run_step(work, "judge").extra["waiting"]:
            release(work, list_rows(work)[-1]["asked"])
        rows = list_rows(work)
    assert [row["kind"] for row in rows] == ["gold", "retrieval", "retrieval", "rejudging"]
    assert all(row["pair_ids"] == [] and row["silver"] == 0 for row in rows)
    first, second = (set(row["asked"]) for row in rows[1:3])
    assert first and second and not first & second
    assert [row["ended"] for row in rows] == [
        None, None, iterating.NOT_RISING, "nothing was judged again"
    ]  # fmt: skip


def test_with_nobody_to_ask_the_loop_says_so(tmp_path: Path) -> None:
    with open_loop(tmp_path, make_loop_recipe(tmp_path, "http://x/v1", judges=[])) as work:
        run_step(work, "judge")
        ended = [row["ended"] for row in list_rows(work)]
        assert ended == [None, "there are no judges and no minutes of people",
                         "nothing was judged again"]  # fmt: skip


def test_a_pool_smaller_than_one_gold_pair_may_fetch_is_told(tmp_path: Path, stub: Stub) -> None:
    told: list[str] = []
    recipe = make_loop_recipe(tmp_path, stub.url, gold=156, loop={"iterations": 1})
    with open_loop(tmp_path, recipe, told.append) as work:
        run_step(work, "judge")
        rows = list_rows(work)
        fetched = next(row for row in rows if row["kind"] == "retrieval")
        assert 0 < len(fetched["pair_ids"]) == fetched["candidates"] < 8
    assert any("fewer than the 8" in line for line in told)


def test_with_minutes_and_no_gold_people_are_asked_for_the_first(
    tmp_path: Path, stub: Stub
) -> None:
    recipe = make_loop_recipe(tmp_path, stub.url, gold=0, loop={"minutes": 20})
    with open_loop(tmp_path, recipe) as work:
        for _ in range(2):  # a second run asks for no more than the minutes hold
            with pytest.raises(TooLittleGold, match="drawn at random wait for people"):
                run_step(work, "judge")
        reviews = work.lake.query("SELECT * FROM reviews WHERE reason = 'first_gold'")
        assert 20 < len(reviews) < 70 and reviews["expected_seconds"].sum() <= 20 * 60


def test_too_little_gold_says_why_nobody_is_asked_for_more(tmp_path: Path) -> None:
    changes = {"gold": 20, "loop": {"minutes": 0.01}}
    recipe = make_loop_recipe(tmp_path, "http://127.0.0.1:9/v1", **changes)
    with open_loop(tmp_path, recipe) as work:
        with pytest.raises(
            TooLittleGold, match=r"0\.01 minutes under loop hold no pair: raise them"
        ):
            run_step(work, "judge")
        targets = list_targets(
            work.look().pairs.with_columns(reason=pl.lit("undecided")), "preference"
        )
        queued = [
            {**{name: row[name] for name in REVIEW}, "status": "queued", "question": "preference",
             "role": "work"}
            for row in targets
        ]  # fmt: skip
        work.lake.append({"reviews": queued}, run=work.run, stage="test")
        with pytest.raises(TooLittleGold, match="asked about every other pair already"):
            run_step(work, "judge")


def test_only_what_was_drawn_at_random_weighs_the_voices(tmp_path: Path, stub: Stub) -> None:
    """People's gold on other pairs was chosen by need, and would show the voices at their worst."""
    recipe = make_loop_recipe(tmp_path, stub.url, gold=0, loop={"minutes": 40})
    with open_loop(tmp_path, recipe) as work:
        with pytest.raises(TooLittleGold):
            run_step(work, "judge")
        drawn = set(work.lake.query("SELECT pair_id FROM reviews")["pair_id"])
        sides = ("prompt_id", "response_a", "response_b")
        told = [
            {**{name: row[name] for name in sides}, "judgment_id": f"gold-{place}",
             "kind": "human", "annotator": "people:b", "p_a": 1.0, "tie": False, "valid": True,
             "sample_index": 0, "gold": True}
            for place, row in enumerate(work.look().pairs.iter_rows(named=True))
        ]  # fmt: skip
        work.lake.append({"judgments": told}, run=work.run, stage="test")
        gold = work.look().evidence.pairs.filter(pl.col("truth").is_not_null())
        assert (gold["split"] == "train").all() and len(gold) > gold["sample"].sum() > LEAST_GOLD
        assert set(gold.filter("sample")["pair_id"]) == drawn & set(gold["pair_id"])


def make_row(kind: str, pool: str = "p", ended: str | None = None, a: float = 0.6) -> Any:
    keys = {"pair_ids": ["x"], "asked": []}
    return {"kind": kind, "pool": pool, "ended": ended, "accuracy": a, **keys}


def test_what_comes_next() -> None:
    spec = LoopSpec(iterations=2)
    gold, one = make_row("gold"), make_row("retrieval")
    over = make_row("retrieval", ended="because")
    last = make_row("rejudging", ended="done")
    assert choose_kind([], spec, "p") == "gold"
    assert choose_kind([gold], spec, "p") == "retrieval"
    assert choose_kind([gold, one], spec, "p") == "retrieval"
    assert choose_kind([gold, one, one], spec, "p") == "rejudging"
    assert choose_kind([gold, over], spec, "p") == "rejudging"
    assert choose_kind([gold, over, last], spec, "p") is None
    assert choose_kind([gold, over, last], spec, "p", more=True) is None
    short = make_row("rejudging", ended="the calls are spent")
    assert choose_kind([gold, over, short], spec, "p") is None
    assert choose_kind([gold, over, short], spec, "p", more=True) == "rejudging"
    assert choose_kind([gold, over, last], spec, "grown") == "retrieval"
    grown = make_row("retrieval", pool="grown")
    spent = [gold, one, one, last]  # all iterations of one pool are none of the next one
    assert choose_kind(spent, spec, "p") is None
    assert choose_kind(spent, spec, "grown") == "retrieval"
    assert choose_kind([*spent, grown], spec, "grown") == "retrieval"
    assert choose_kind([*spent, grown, grown], spec, "grown") == "rejudging"
    assert choose_kind([gold], LoopSpec(iterations=0), "p") == "rejudging"


def test_what_comes_next_where_the_calls_had_cut_a_loop_short() -> None:
    """Gold first, then the retrievals, then a rejudging; and then it is over."""
    spec, cut = LoopSpec(iterations=2), "the calls are spent"
    gold, short = make_row("gold"), make_row("gold", ended=cut)
    one, part = make_row("retrieval"), make_row("retrieval", ended=cut)
    none = {**part, "pair_ids": []}
    over, last = make_row("retrieval", ended="because"), make_row("rejudging", ended="nothing")
    again = make_row("rejudging", ended=cut)

    def choose(*rows: Any) -> tuple[str | None, str | None]:
        return choose_kind([*rows], spec, "p"), choose_kind([*rows], spec, "p", more=True)

    for end in (last, again):
        assert choose(short, end) == (None, "gold")
        assert choose(short, end, short) == ("rejudging", "gold")
        assert choose(short, end, gold) == ("rejudging", "retrieval")
        assert choose(short, end, gold, one, one) == ("rejudging", "rejudging")
        assert choose(short, end, gold, over) == ("rejudging", "rejudging")
        assert choose(short, end, gold, over, last) == (None, None)
        assert choose(short, end, gold, over, again) == (None, "rejudging")
        assert choose(gold, none, end) == choose(gold, part, end) == (None, "retrieval")
        assert choose(gold, none, end, one) == ("rejudging", "retrieval")
        assert choose(gold, none, end, one, one) == ("rejudging", "rejudging")
        assert choose(gold, one, part, end) == (None, "rejudging")
        assert choose(gold, one, part, end, last) == (None, None)
    assert choose(gold, one, one, last) == choose(gold, over, last) == (None, None)


def test_rising_is_more_than_the_standard_error() -> None:
    rows = [make_row("gold", a=0.6), make_row("retrieval", a=0.7)]
    assert is_rising([], 0.5, 10)
    assert is_rising(rows, 0.75, 100) and not is_rising(rows, 0.74, 100)
    assert not is_rising(rows, 0.65, 10_000)
