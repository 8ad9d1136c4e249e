"""Attributes as a stage: described once, what cannot be read kept raw, nothing judged by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.label.describing import describe_pairs
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from tests.conftest import make_recipe
from tests.pipelines.label.test_judging import make_work
from tests.stub_server import run_stub


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def test_every_pair_gets_a_row_and_is_asked_about_once(lake: Lake) -> None:
    work = make_work(20)
    with run_stub() as stub:
        recipe = make_recipe(stub.url, attributes={"model": "m"})
        first = describe_pairs(lake, new_run(), recipe, None, *work)
        # the stub writes no JSON: each pair is asked twice and stays undescribed
        assert (first.extra["calls"], first.extra["invalid"]) == (40, 20)
        again = describe_pairs(lake, new_run(), recipe, None, *work)
        assert (again.extra["calls"], stub.stats()["repeated"]) == (0, 0)
    rows = lake.query("SELECT target, valid, reason, raw, tokens_in FROM attributes")
    assert set(rows["target"]) == set(work[1]["pair_id"])
    assert not rows["valid"].any() and rows["raw"].str.starts_with("An answer").all()
    assert lake.query("SELECT count(*) AS n FROM judgments")["n"][0] == 0
    assert lake.query("SELECT kind FROM annotators")["kind"].to_list() == ["llm"]


def test_without_attributes_in_the_recipe_nothing_is_asked(lake: Lake) -> None:
    summary = describe_pairs(lake, new_run(), make_recipe("http://127.0.0.1:9/v1"), None,
                             *make_work(3))  # fmt: skip
    assert (summary.rows_in, summary.kept) == (0, 0)
