"""Calls are spent where the jury's word is expected to put most labels right."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.loop.stacking import fit_reading
from pipelines.label.loop.plans import choose_people
from pipelines.label.loop.valuing import Jury, measure_jury, spend_calls
from pipelines.steps import run_step
from tests.pipelines.label.loop.loop_lake import list_rows, make_loop_recipe, open_loop
from tests.pipelines.label.loop.planted_pool import use_numbers
from tests.stub_server import run_stub


def read_judges(*own: int) -> Any:
    """A reading of judges who are right on 80 % of 200 pairs; those of one number are one."""
    generator = np.random.default_rng(3)
    truth = (generator.random(200) < 0.5).astype(float)
    right = {place: generator.random(200) < 0.8 for place in sorted(set(own))}
    said = np.column_stack([np.where(right[one], truth, 1 - truth) for one in own])
    names = [f"judge-{place}" for place in range(len(own))]
    return fit_reading(names, said, truth, [f"p{at}" for at in range(200)])


def test_judges_who_err_together_add_less() -> None:
    def weigh(*own: int) -> float:
        return measure_jury(read_judges(*own), {f"judge-{k}" for k in range(9)}, 9, 2).log_odds

    one, twice, apart = weigh(0), weigh(0, 0), weigh(0, 1)
    assert one == pytest.approx(np.log(4), abs=0.4)
    assert twice == pytest.approx(one, abs=0.15) and apart > 1.7 * one
    assert measure_jury(read_judges(0), {"somebody else"}, 9, 2).log_odds == 0


def test_calls_go_first_where_a_label_may_turn_and_no_further_than_they_reach() -> None:
    pairs = pl.DataFrame(
        {"pair_id": ["near", "leaning", "sure", "open", "far"], "z": [1.2, -0.8, 3.0, 0.1, -1.5]}
    )

    def choose(*jury: Any) -> list[str]:
        found: list[str] = spend_calls(pairs, Jury(*jury))["pair_id"].to_list()
        return found

    every = pairs["pair_id"].to_list()
    assert choose(1.0, 10, 2) == choose(1.0, 100, 2) == choose(0.0, 10, 2) == every
    gains = dict(spend_calls(pairs, Jury(1.0, 10, 2)).iter_rows())
    assert gains["open"] > gains["leaning"] > 0 == gains["near"] == gains["sure"] == gains["far"]
    assert choose(1.0, 9, 2) == ["open", "leaning", "near", "sure"]
    assert choose(1.0, 7, 2) == ["open", "leaning", "near"]
    assert choose(1.0, 3, 2) == ["open"] and choose(0.0, 3, 2) == ["near"]
    assert choose(1.0, 1, 2) == choose(1.0, 0, 2) == []
    assert spend_calls(pairs.clear(), Jury(1.0, 100, 2)).is_empty()


def test_ample_calls_come_to_what_no_bound_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    found = []
    for calls in (None, 100_000):
        folder = tmp_path / str(calls)
        folder.mkdir()
        spec = {"neighbours": 2, "iterations": 1, "calls": calls}
        with (
            run_stub(judges=True) as stub,
            open_loop(folder, make_loop_recipe(folder, stub.url, loop=spec)) as work,
        ):
            run_step(work, "judge")
            rows = [(row["kind"], row["pair_ids"], row["ended"]) for row in list_rows(work)]
            assert len(rows[-1][1]) > 3
            found.append(rows)
    assert found[0] == found[1]


def test_people_are_asked_what_the_jury_is_not_better_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    recipe = make_loop_recipe(tmp_path, "http://x/v1", loop={"minutes": 3, "calls": 100})
    with open_loop(tmp_path, recipe) as work:
        evidence = work.look().evidence
        state: Any = SimpleNamespace(
            pairs=evidence.pairs,
            found=SimpleNamespace(log_odds=np.linspace(-0.5, 0.5, len(evidence.pairs))),
        )
        open_ = evidence.pairs.filter(pl.col("truth").is_null())["pair_id"].to_list()

        def ask(jury: Jury | None, left: list[str]) -> dict[str, dict[str, float]]:
            rows = choose_people(work.lake, recipe, state, jury, left)
            assert {row["left"] for row in rows} == {"a", "b"}  # the side that is shown there
            return {row["pair_id"]: json.loads(row["why"]) for row in rows}

        alone = ask(None, [])
        half = sorted(alone)[::2]
        assert len(half) > 2 and all(why.keys() == {"worth"} for why in alone.values())
        assert ask(Jury(2.0, 0, 2), half).keys() == alone.keys()  # nothing left to pay the jury by
        shared = ask(Jury(2.0, 10_000, 2), half)
        assert len(shared) == len(alone) and not shared.keys() & set(half)
        weak = ask(Jury(0.3, 1, 2), open_)
        assert all(why["worth"] > why["jury"] >= 0 for why in weak.values()) and weak


def test_the_loop_judges_again_what_is_worth_a_call_and_says_what_it_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    told: list[str] = []
    with run_stub(judges=True) as stub:
        recipe = make_loop_recipe(tmp_path, stub.url, loop={"iterations": 0, "calls": 5000})
        with open_loop(tmp_path, recipe, told.append) as work:
            run_step(work, "judge")
            pairs = len(list_rows(work)[-1]["pair_ids"])
    (line,) = [line for line in told if "(rejudging)" in line and "to judge" in line]
    assert pairs > 3 and f"{pairs} pairs to judge, which is expected to put" in line
    assert f"labels right for {2 * pairs} calls" in line
