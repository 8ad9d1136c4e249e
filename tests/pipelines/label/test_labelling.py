"""From the lake to a policy: what an opinion carries beside its row, and what calibration hides."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.label.judges import load_judges
from pipelines.label.labelling import apply_policy, find_judgments
from pipelines.label.pairs import PAIR_SCHEMA
from pipelines.label.reliability import measure_annotators, record_cards
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from schemas.recipe import parse_import
from tests.conftest import make_recipe
from tests.pipelines.splitting import put_in_train

ENDPOINT = {"url": "http://127.0.0.1:9/v1", "model": "big:7b", "revision": "r1"}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def test_an_opinion_knows_its_model_and_what_was_said(lake: Lake) -> None:
    judges = [{"name": "quick", "model": "m"}, {"name": "careful", "model": "m", "mode": "reason"}]
    recipe = make_recipe(models={"m": ENDPOINT}, judges=judges)
    loaded = load_judges(recipe, None)
    assert len(loaded) == 2
    said = {"kind": "llm", "prompt_id": "p", "response_a": "a", "response_b": "b", "p_a": 0.9,
            "tie": False, "valid": True, "order": "ab", "sample_index": 0}  # fmt: skip
    rows = [
        {**said, "judgment_id": judge.annotator, "annotator": judge.annotator} for judge in loaded
    ]
    person = {"judgment_id": "z", "annotator": "person-z", "kind": "human", "order": None}
    lake.append({"judgments": [*rows, {**said, **person}]}, run=new_run(), stage="t")
    pair = ("p", "a", "b")
    pairs = pl.DataFrame([(make_pair_id(*pair), *pair, "all")], schema=PAIR_SCHEMA, orient="row")
    found = find_judgments(lake, recipe, loaded, pairs).sort("annotator")
    assert found["model"].to_list() == ["big:7b@r1", "big:7b@r1", None]
    assert found["p_raw"].to_list() == [0.9] * 3


def make_tilted(n: int) -> list[dict[str, Any]]:
    """An expert's gold, and a judge that is sure of what it sees first on every other pair."""
    rng = random.Random(4)
    lines = []
    for i in range(n):
        pair = {"prompt": f"{i}?", "response_a": f"One, {i}.", "response_b": f"Another, {i}."}
        truth = float(rng.random() < 0.5)
        lines.append({**pair, "annotator": "expert", "kind": "human", "p_a": truth, "gold": True})
        steady = (0.1 + 0.8 * truth,) * 2
        for order, p_a in zip(("ab", "ba"), (0.95, 0.25) if i % 2 else steady, strict=True):
            lines.append({**pair, "annotator": "tilted", "kind": "llm", "order": order, "p_a": p_a})
    return lines


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibrated_judges_are_unanimous_only_where_their_orders_agree(
    lake: Lake, tmp_path: Path, method: str
) -> None:
    file = tmp_path / "opinions.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in make_tilted(60)))
    source = parse_import(str(file), name="x", layout="judgments", licence="MIT")
    import_pool(lake, new_run(), source)
    put_in_train(lake)
    record_cards(lake, new_run(), measure_annotators(lake))
    pool = lake.query("SELECT DISTINCT prompt_id, response_a, response_b FROM judgments")
    ids = [make_pair_id(*row) for row in pool.iter_rows()]
    pairs = pool.with_columns(pair_id=pl.Series(ids), basis=pl.lit("import"))
    lake._cursor().execute("DELETE FROM judgments WHERE gold")
    content = {"prompts": {"imports": [{"path": "x", "name": "x"}]}, "judges": []}
    for calibration in (None, method):
        label = {"policy": "unanimous", "threshold": 0.51, "calibration": calibration}
        labels = apply_policy(lake, make_recipe(label=label, **content), [], pairs)
        counts = dict(labels.group_by("status").len().iter_rows())
        assert counts == {"labelled": 30, "to_review": 30}, calibration
