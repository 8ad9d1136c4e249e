"""What a loop may spend: its calls are a bound, failed ones are made again on demand, and nothing
is spent where gold is too little or the jury no better than a coin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotators.loop.jury import JuryNoBetterThanChance
from annotators.loop.stacking import TooLittleGold
from pipelines.label.loop.hearing import JudgeNotHeard, TooFewCalls
from pipelines.label.loop.plans import choose_gold
from pipelines.lake.run import StageSummary
from pipelines.steps import Work, run_step
from schemas.looping import LoopSpec
from tests.pipelines.label.loop.loop_lake import list_rows, make_loop_recipe, open_loop
from tests.pipelines.label.loop.planted_pool import (
    use_numbers,
)
from tests.stub_server import Stub, run_stub

VOTE = {"name": "judge", "model": "m", "mode": "vote", "k": 8, "temperature": 0.7}


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    use_numbers(monkeypatch)


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub(judges=True) as running:
        yield running


@pytest.mark.parametrize(
    ("calls", "changes"),
    [
        (170, {}),
        (500, {"judges": [VOTE], "attributes": {"model": "m"}}),
    ],
    ids=["choice", "vote"],
)
def test_the_calls_are_a_bound(
    tmp_path: Path, stub: Stub, calls: int, changes: dict[str, Any]
) -> None:
    before = stub.stats()["requests"]
    recipe = make_loop_recipe(tmp_path, stub.url, loop={"calls": calls, "neighbours": 8}, **changes)
    with open_loop(tmp_path, recipe) as work:
        made = run_step(work, "judge").extra["calls"]
        assert calls - 17 < made <= calls and made == stub.stats()["requests"] - before
        rows = list_rows(work)
        assert "the calls are spent" in {row["ended"] for row in rows}
        assert rows[-1]["kind"] == "rejudging" and rows[-1]["status"] == "done"
        assert run_step(work, "judge").extra["calls"] == 0
        more = recipe.model_copy(
            update={"loop": recipe.loop.model_copy(update={"calls": calls + 60})}
        )
        given = Work(work.lake, work.run, more, work.base)
        made += run_step(given, "judge").extra["calls"]
        assert calls < made <= calls + 60
        assert list_rows(given)[: len(rows)] == rows
        assert sum(row["verdicts"] for row in list_rows(given)[len(rows) :]) > 0
        assert calls + 60 - 17 < made or list_rows(given)[-1]["ended"] != "the calls are spent"
        assert run_step(given, "judge").extra["calls"] == 0


def test_what_was_answered_before_the_loop_costs_it_nothing(tmp_path: Path, stub: Stub) -> None:
    recipe = make_loop_recipe(tmp_path, stub.url, loop={"calls": 170, "neighbours": 8})
    policy = recipe.label.model_copy(update={"policy": "judge_only"})
    bare = recipe.model_copy(update={"loop": None, "label": policy})
    with open_loop(tmp_path, recipe) as work:
        before = Work(work.lake, work.run, bare, work.base)
        assert run_step(before, "judge").extra["calls"] == 320
        work = Work(work.lake, work.run, recipe, work.base)
        assert run_step(work, "judge").extra["calls"] == 0
        rows = list_rows(work)
        assert rows[1]["kind"] == "retrieval" and rows[1]["pair_ids"]
        assert "the calls are spent" not in {row["ended"] for row in rows}


def test_answers_that_must_be_mended_end_the_loop_at_the_bound(tmp_path: Path) -> None:
    """Each costs a call that nobody could plan."""
    with run_stub(judges=True, wrong_format_rate=0.3) as odd:
        recipe = make_loop_recipe(tmp_path, odd.url, loop={"calls": 150, "neighbours": 8})
        with open_loop(tmp_path, recipe) as work:
            assert run_step(work, "judge").extra["calls"] == 150 == odd.stats()["requests"]
            rows = list_rows(work)
            assert [row["status"] for row in rows] == ["done"] * len(rows)
            assert {row["ended"] for row in rows} == {"the calls are spent"}
            more = recipe.model_copy(update={"loop": LoopSpec(neighbours=8)})
            given = Work(work.lake, work.run, more, work.base)
            run_step(given, "judge")
            assert list_rows(given)[-1]["ended"] != "the calls are spent"
            judged = work.lake.query("SELECT pair_id FROM (SELECT DISTINCT response_a, response_b "
                "FROM judgments WHERE NOT starts_with(annotator, 'import:')) JOIN pairs_ USING "
                "(response_a, response_b)", pairs_=given.look().pairs)  # fmt: skip
            assert set(judged["pair_id"]) >= {key for row in rows for key in row["pair_ids"]}


def give(work: Work, calls: int | None) -> Work:
    """The same lake with other calls for the loop."""
    assert work.recipe.loop is not None
    spec = work.recipe.loop.model_copy(update={"calls": calls})
    recipe = work.recipe.model_copy(update={"loop": spec})
    return Work(work.lake, work.run, recipe, work.base)


@pytest.mark.parametrize("more", [5000, None])
def test_a_loop_that_its_calls_cut_short_in_gold_goes_on_when_it_has_more(
    tmp_path: Path, stub: Stub, more: int | None
) -> None:
    recipe = make_loop_recipe(tmp_path, stub.url, loop={"calls": 60, "iterations": 1})
    with open_loop(tmp_path, recipe) as work:
        assert run_step(work, "judge").extra["calls"] == 60
        before = list_rows(work)
        assert [row["kind"] for row in before] == ["gold", "rejudging"]
        assert len(before[0]["pair_ids"]) == 30
        assert run_step(work, "judge").extra["calls"] == 0 and list_rows(work) == before
        given = give(work, more)
        assert run_step(given, "judge").extra["calls"] > 0
        rows = list_rows(given)
        kinds = [row["kind"] for row in rows]
        assert kinds == ["gold", "rejudging", "gold", "retrieval", "rejudging"]
        golden = [key for row in rows if row["kind"] == "gold" for key in row["pair_ids"]]
        evidence = given.look().evidence
        assert sorted(golden) == sorted(choose_gold(evidence, recipe.seed))
        every = [key for row in rows for key in row["pair_ids"]]
        assert len(every) == len(set(every)) and "the calls are spent" not in {
            row["ended"] for row in rows[2:]
        }
        assert run_step(given, "judge").extra["calls"] == 0 and list_rows(given) == rows


def test_calls_that_do_not_reach_for_enough_gold_are_not_spent(tmp_path: Path, stub: Stub) -> None:
    asked = stub.stats()["requests"]
    recipe = make_loop_recipe(tmp_path, stub.url, loop={"calls": 39})
    with open_loop(tmp_path, recipe) as work:
        with pytest.raises(TooFewCalls, match=r"reach for 19 .* takes 40 calls: raise loop\.calls"):
            run_step(work, "judge")
        assert stub.stats()["requests"] == asked and list_rows(work) == []
        assert run_step(give(work, 40), "judge").extra["calls"] == 40


def test_gold_that_mending_left_too_few_calls_for_is_heard_first_when_there_are_more(
    tmp_path: Path,
) -> None:
    with run_stub(judges=True, wrong_format_rate=0.4) as odd:
        recipe = make_loop_recipe(tmp_path, odd.url, loop={"calls": 44, "iterations": 1})
        with open_loop(tmp_path, recipe) as work:
            for _ in range(2):
                with pytest.raises(JudgeNotHeard, match=r"raise loop\.calls"):
                    run_step(work, "judge")
                assert odd.stats()["requests"] == 44
            given = give(work, 5000)
            run_step(given, "judge")
            kinds = [row["kind"] for row in list_rows(given)]
            assert kinds == ["gold", "gold", "retrieval", "rejudging"]
            assert run_step(given, "judge").extra["calls"] == 0


def test_failed_calls_of_iterations_that_are_done_are_made_again_on_demand(tmp_path: Path) -> None:
    told: list[str] = []

    def judge(url: str, again: bool) -> StageSummary:
        with open_loop(tmp_path, make_loop_recipe(tmp_path, url), told.append, again) as work:
            return run_step(work, "judge")

    with run_stub(judges=True, always_rate=0.3, status=400) as broken:
        first = judge(broken.url, False)
        failed = sum(first.extra["failures"].values())
        notices = [line for line in told if "--retry-failed makes them again" in line]
        done = len(first.extra["iterations"])
        assert failed > 20 and done == len(notices)
        assert sum(int(line.split()[2]) for line in notices) == failed
    with run_stub(judges=True) as mended:
        again = judge(mended.url, True)
        assert again.extra["calls"] == failed == mended.stats()["requests"]
        assert [row["status"] for row in again.extra["iterations"]] == ["done"] * done


def test_failed_calls_are_made_again_where_they_had_used_up_the_calls(tmp_path: Path) -> None:
    def judge(url: str, again: bool) -> tuple[int, list[dict[str, Any]]]:
        recipe = make_loop_recipe(tmp_path, url, loop={"calls": 160, "neighbours": 8})
        with open_loop(tmp_path, recipe, again=again) as work:
            return run_step(work, "judge").extra["calls"], list_rows(work)

    with run_stub(judges=True, always_rate=0.9, status=400) as broken:
        for again in (False, True, True):  # each asks a failed call once, and no further pair
            with pytest.raises(JudgeNotHeard, match="--retry-failed"):
                judge(broken.url, again)
        assert broken.stats()["requests"] > 300
    with run_stub(judges=True) as mended:
        with pytest.raises(JudgeNotHeard, match="--retry-failed"):
            judge(mended.url, False)
        assert mended.stats()["requests"] == 0
        made, rows = judge(mended.url, True)
        assert 100 < made == mended.stats()["requests"] <= 160
        assert [row["status"] for row in rows] == ["done"] * len(rows) and rows[0]["accuracy"]
        assert judge(mended.url, True)[0] == judge(mended.url, False)[0] == 0


def test_nothing_is_spent_on_too_little_gold_or_a_jury_worse_than_chance(
    tmp_path: Path, stub: Stub
) -> None:
    (tmp_path / "few").mkdir()
    asked = stub.stats()["requests"]
    with open_loop(tmp_path / "few", make_loop_recipe(tmp_path / "few", stub.url, gold=20)) as work:
        with pytest.raises(TooLittleGold, match=r"more.*with minutes under loop they are asked"):
            run_step(work, "judge")
        assert stub.stats()["requests"] == asked and list_rows(work) == []
    (tmp_path / "bad").mkdir()
    bad = make_loop_recipe(tmp_path / "bad", stub.url, pool={"accuracy": 0.2})
    with open_loop(tmp_path / "bad", bad) as work:
        for _ in range(2):
            with pytest.raises(JuryNoBetterThanChance, match="nothing was spent on the pool"):
                run_step(work, "judge")
        assert len(list_rows(work)) == 1
        assert stub.stats()["requests"] == asked + 2 * len(list_rows(work)[0]["pair_ids"])
