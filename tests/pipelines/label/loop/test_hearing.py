"""A judge that gold cannot be read by stops the loop before the pool is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.loop.jury import JuryNoBetterThanChance
from annotators.talk import Judge
from pipelines.label.judges import load_judges
from pipelines.label.loop.evidence import Evidence
from pipelines.label.loop.hearing import JudgeNotHeard, check_heard, check_worth
from pipelines.lake.run import new_run
from pipelines.steps import run_step
from tests.pipelines.label.loop.loop_lake import list_rows, make_loop_recipe, open_loop
from tests.pipelines.label.loop.planted_pool import use_numbers
from tests.pipelines.label.test_judges import make_judging
from tests.stub_server import run_stub

SAID = {
    "annotator": pl.String, "response_a": pl.String, "response_b": pl.String,
    "criterion": pl.String, "order": pl.String, "p_a": pl.Float64, "valid": pl.Boolean,
    "reason": pl.String, "one_order": pl.Boolean,
}  # fmt: skip


def test_a_judge_that_cannot_be_read_on_gold_is_asked_nothing_of_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    with (
        run_stub(judges=True, wrong_format_rate=0.9) as stub,
        open_loop(tmp_path, make_loop_recipe(tmp_path, stub.url)) as work,
    ):
        for _ in range(2):
            with pytest.raises(JudgeNotHeard, match=r"pairwise:.* could not be read.* template"):
                run_step(work, "judge")
        (row,) = list_rows(work)
        verdicts = 2 * len(row["pair_ids"])
        assert row["kind"] == "gold" and verdicts <= stub.stats()["requests"] <= 2 * verdicts


def load(**changes: Any) -> Judge:
    (judge,) = load_judges(make_judging("http://127.0.0.1:9/v1", changes), None)
    return judge


def say(judge: Judge, asked: int, heard: int, **changes: Any) -> pl.DataFrame:
    """Verdicts of a judge on `asked` pairs, in both orders; one of them on all but the first
    `heard` is not valid."""
    rows = []
    for at in range(asked):
        for order in ("ab", "ba"):
            valid = order == "ab" or at < heard
            row = {
                "annotator": judge.annotator,
                "response_a": f"a{at}",
                "response_b": f"b{at}",
                "order": order,
                "p_a": 0.9 if valid else None,
                "valid": valid,
                "reason": None if valid else "none of A, B: 'hm'",
                "one_order": False,
            }
            rows.append({**row, **changes})
    return pl.DataFrame(rows, schema=SAID)


@pytest.mark.parametrize(
    ("asked", "heard", "stops"),
    [(200, 20, False), (200, 19, True), (20, 20, False), (20, 19, True), (19, 10, False),
     (19, 9, True), (0, 0, False), (1, 0, True)],
)  # fmt: skip
def test_twenty_pairs_are_enough_and_half_of_fewer(asked: int, heard: int, stops: bool) -> None:
    judge = load()
    said = say(judge, asked, heard)
    if stops:
        with pytest.raises(JudgeNotHeard, match=rf"of {asked} pairs.* heard on {heard}: "):
            check_heard([judge], said)
    else:
        check_heard([judge], said)


@pytest.mark.parametrize(("asked", "heard"), [(0, 0), (10, 10), (19, 19), (40, 19)])
def test_where_the_calls_fell_short_fewer_than_twenty_are_too_few(asked: int, heard: int) -> None:
    judge = load()
    with pytest.raises(JudgeNotHeard, match=r"raise loop\.calls"):
        check_heard([judge], say(judge, asked, heard), short=True)
    check_heard([judge], say(judge, 40, 20), short=True)


def test_a_call_that_was_made_again_counts_by_what_it_came_to() -> None:
    judge = load()
    failed = say(judge, 40, 0).with_columns(
        reason=pl.when("valid").then(None).otherwise(pl.lit("call failed: timeout"))
    )
    with pytest.raises(JudgeNotHeard, match=r"0% of its answers.*100% of its calls.*--retry-f"):
        check_heard([judge], failed)
    check_heard([judge], pl.concat([failed, say(judge, 30, 30)]))


def test_a_judge_of_responses_is_heard_by_its_scores() -> None:
    judge = load(method="policy")
    said = say(judge, 40, 40, response_b=None, criterion="harm", p_a=None)
    check_heard([judge], said)
    with pytest.raises(JudgeNotHeard, match="of 40 responses"):
        check_heard([judge], said.with_columns(valid=False))


def make_evidence(truth: list[float], said: list[float], judge: str) -> Evidence:
    pairs = pl.DataFrame({"truth": truth}, schema={"truth": pl.Float64})
    return Evidence(pairs, (judge,), np.array(said)[:, None], pl.DataFrame(), ())


def test_ties_tell_no_jury_from_a_coin_and_the_run_says_so() -> None:
    judge = load()
    told: list[str] = []
    run = new_run(None, tell=told.append)
    check_worth(run, [judge], make_evidence([1.0] * 29 + [0.5] * 60, [0.2] * 89, judge.annotator))
    assert len(told) == 1 and "29 gold pairs with a better side" in told[0]
    with pytest.raises(JuryNoBetterThanChance, match="30 gold pairs"):
        check_worth(run, [judge], make_evidence([1.0] * 30, [0.2] * 30, judge.annotator))
    check_worth(run, [judge], make_evidence([1.0] * 30, [0.8] * 30, judge.annotator))
    assert len(told) == 1
