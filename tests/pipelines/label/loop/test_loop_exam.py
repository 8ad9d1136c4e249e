"""Nothing of the exam's gold reaches the loop: not a request, a retrieval, a choice of what people
are asked, nor an accuracy. The loop twice, and between the two only the exam's gold is turned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.steps import run_step
from tests.pipelines.label.loop.loop_lake import (
    list_rows,
    make_loop_recipe,
    open_loop,
    release,
)
from tests.pipelines.label.loop.planted_pool import use_numbers
from tests.stub_server import run_stub

LOOP = {"iterations": 2, "neighbours": 2, "minutes": 3, "calls": 5000}


def hold_loop(folder: Path, exam: set[str]) -> tuple[list[dict[str, Any]], list[str], set[str]]:
    """The iterations, the requests, and the prompts of the test split that have gold, where the
    gold of the prompts of `exam` is turned round."""
    folder.mkdir()
    bodies = folder / "bodies"
    with run_stub(judges=True, bodies=str(bodies)) as stub:
        recipe = make_loop_recipe(
            folder, stub.url, loop=LOOP, gold=120, split={"test": 0.4},
            judges=[{"name": "judge", "model": "m", "examples": 2}],
        )  # fmt: skip
        file = folder / "pool.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            if line.get("gold") and line["prompt"] in exam:
                line["p_a"] = 1 - line["p_a"]
        file.write_text("\n".join(json.dumps(line) for line in lines))
        with open_loop(folder, recipe) as work:
            while run_step(work, "judge").extra["waiting"]:
                release(work, list_rows(work)[-1]["asked"])
            held = work.lake.query(
                "SELECT messages[1].content AS prompt FROM prompts JOIN splits USING (prompt_id) "
                "WHERE split = 'test'"
            )["prompt"]
            rows = [{**row, "seconds": 0.0} for row in list_rows(work)]
    golden = {line["prompt"] for line in lines if line.get("gold")}
    return rows, sorted(bodies.read_text().splitlines()), golden & set(held)


def test_turning_the_exams_gold_changes_nothing_in_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_numbers(monkeypatch)
    rows, bodies, exam = hold_loop(tmp_path / "honest", set())
    assert len(exam) > 10 and sum("[End of the examples]" in body for body in bodies) > 100
    assert any(row["asked"] for row in rows) and rows[-1]["gold"] > rows[0]["gold"]
    assert sum(bool(row["pair_ids"]) for row in rows) > 1 and rows[-1]["kind"] == "rejudging"
    turned = hold_loop(tmp_path / "turned", exam)
    assert turned[2] == exam
    assert turned[0] == rows
    assert turned[1] == bodies
