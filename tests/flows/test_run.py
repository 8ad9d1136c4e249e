"""The whole flow on a counting stub: second runs, changed policies, more prompts, wrong formats,
down servers, broken recipes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import StageSummary
from pipelines.recipes import find_recipe
from pipelines.ship.publish import Published
from pipelines.steps import STEPS, open_work, publish_settled, run_step
from schemas.errors import AssayError
from tests.conftest import make_recipe, run_assay, run_here, write_recipe
from tests.stub_server import run_stub

OPEN = {"open": {"model": "m", "count": 10, "max_tokens": 32}}


def run(folder: Path, *more: str, **changes: Any) -> dict[str, Any]:
    recipe = write_recipe(folder / "recipe.yaml", make_recipe(**changes))
    done = run_assay(
        "run", recipe, "--lake", folder / "lake", "--out", folder / "out", "--json", *more
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def take_steps(folder: Path, url: str, **changes: Any) -> tuple[dict[str, StageSummary], Published]:
    """Every stage and a version, in this process: the summaries by stage, and the version."""
    with open_work(str(folder / "lake"), make_recipe(url, **changes), None) as work:
        stages = [run_step(work, step) for step in STEPS]
        published = publish_settled(work, stages)
    return {summary.stage: summary for summary in stages}, published


def count_calls(stages: dict[str, StageSummary]) -> int:
    return sum(summary.extra.get("calls", 0) for summary in stages.values())


@pytest.mark.timeout(600)
def test_second_runs_cost_nothing_and_growth_costs_its_growth(tmp_path: Path) -> None:
    # with this seed no two of the 22 word problems are alike, so that ten more are ten new ones
    small = {"seed": 1, "prompts": {"arithmetic": {"count": 12}, **OPEN}}
    large = {"seed": 1, "prompts": {"arithmetic": {"count": 22}, **OPEN}}
    with run_stub() as stub:
        first = run(tmp_path, url=stub.url, **small)
        asked = stub.stats()["requests"]
        assert first["model_calls"] == asked > 0
        assert first["new"] and first["rows"] > 20

        started = time.monotonic()
        second = run(tmp_path, url=stub.url, **small)
        seconds = time.monotonic() - started
        assert stub.stats()["requests"] == asked
        assert (second["version"], second["fingerprint"], second["new"]) == (
            first["version"], first["fingerprint"], False,
        )  # fmt: skip
        assert second["model_calls"] == 0
        assert seconds < 60  # `make bench` measures it alone; here other tests share the cores

        strict = {"policy": "judge_only", "threshold": 0.7}
        _, changed = take_steps(tmp_path, stub.url, **small, label=strict)
        assert stub.stats()["requests"] == asked
        assert changed.version == 2

        grown, _ = take_steps(tmp_path, stub.url, **large)
        kept = {stage["stage"]: stage["kept"] for stage in first["stages"]}
        for stage in ("dedup", "split"):
            assert grown[stage].kept - kept[stage] == 10
        assert count_calls(grown) == 20  # two rollouts each; a verifier decides the pairs
        assert stub.stats()["requests"] == asked + 20
    with open_lake(tmp_path / "lake") as lake:
        for table, key in (("rollouts", "rollout_id"), ("judgments", "judgment_id")):
            row = lake.query(f"SELECT count(*) AS n, count(DISTINCT {key}) AS d FROM {table}")
            assert row["n"][0] == row["d"][0] > 0


def test_an_answer_in_a_wrong_format_is_one_invalid_judgment(tmp_path: Path) -> None:
    with run_stub(wrong_format_contains="zoos still a good idea") as stub:
        stages, _ = take_steps(tmp_path, stub.url, prompts=OPEN)
        judged = stages["judge"]
        assert judged.dropped == {} and count_calls(stages) == stub.stats()["requests"]
        again, _ = take_steps(tmp_path, stub.url, prompts=OPEN)
        assert count_calls(again) == 0
    with open_lake(tmp_path / "lake") as lake:
        rows = lake.query(
            "SELECT valid, count(*) AS n FROM judgments GROUP BY valid ORDER BY valid"
        )
        counts = dict(rows.iter_rows())
        assert counts[False] == 2  # the one pair of that prompt, in both orders
        # each of the two was sent back once, and came back no better
        assert counts[True] == judged.kept - 4 > 0
        bad = lake.query("SELECT p_a, reason FROM judgments WHERE NOT valid")
        assert bad["p_a"].to_list() == [None, None]
        assert set(bad["reason"]) == {"none of A, B: 'neither, sorry'"}
        undecided = lake.query("SELECT rule FROM decisions WHERE action = 'to_review'")
        assert "no_opinion" in undecided["rule"].to_list()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"always_rate": 1.0, "status": 429}, "answered none of the first"),
        ({"always_rate": 1.0, "status": 500}, "answered none of the first"),
        ({"garbage": True}, "garbage"),
        ({"always_rate": 1.0, "status": 401}, "refuses the key"),
    ],
)
def test_a_server_that_never_answers_ends_the_run_with_one_message(
    tmp_path: Path, faults: dict[str, Any], words: str
) -> None:
    with run_stub(**faults) as stub:
        models = {"m": {"model": "stub", "url": stub.url, "concurrency": 64, "max_tries": 1}}
        recipe = make_recipe(models=models, prompts={"arithmetic": {"count": 100}})
        file = write_recipe(tmp_path / "r.yaml", recipe)
        for command in ("synthesise", "dedup"):
            assert run_here(command, file, "--lake", tmp_path / "lake").returncode == 0
        done = run_here("rollouts", file, "--lake", tmp_path / "lake")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert words in done.stderr and stub.url in done.stderr


def test_a_broken_recipe_is_one_message_and_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: x\nprompts: {arithmetic: {cuont: 3}}\n")
    done = run_assay("run", file, "--lake", tmp_path / "lake")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file}: prompts.arithmetic.cuont: unknown key; did you mean 'count'" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(AssayError, match="no such recipe"):
        find_recipe("nowhere", str(tmp_path / "lake"))
    assert run_here("run").returncode == 2


def test_publishing_applies_a_changed_cleaning_without_a_call(tmp_path: Path) -> None:
    with run_stub() as stub:
        _, first = take_steps(tmp_path, stub.url)
        asked = stub.stats()["requests"]
        short = {"max_response_chars": 30}  # the stub's answers are longer, references are not
        recipe = write_recipe(tmp_path / "recipe.yaml", make_recipe(stub.url, clean=short))
        done = run_here("publish", recipe, "--lake", tmp_path / "lake", "--json")
        assert stub.stats()["requests"] == asked
    assert first.rows > 0
    assert done.returncode == 1 and "no pair is left to publish" in done.stderr
