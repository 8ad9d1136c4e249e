"""A version whose rows have defects and texts to cover: what leaves the lake, and what stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.ship.export import make_rows
from pipelines.ship.publish import Published, ShortcutTooStrong
from pipelines.ship.report import build_report
from pipelines.steps import SETTLING_STEPS, Work, open_work, publish_settled, run_step
from schemas.recipe import Recipe, parse_recipe
from tests.conftest import run_here

ADDRESS = "joe.smith@mail.example.com"
PROMPTS = 12


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of which two hold an address, one in the prompt, one in the chosen response. The
    longer response is chosen in nine of twelve."""
    rows = []
    for i in range(PROMPTS):
        asked = f"What is the colour of number {i}, and why is it so?"
        if i == 0:
            asked += f" Write to {ADDRESS}."
        texts = [f"It is blue, for reason {i}, as everybody knows.", f"Red {i}."]
        if i == 1:
            texts[0] += f" Ask {ADDRESS} \u2013 he knows."
        chosen, rejected = texts if i < 9 else reversed(texts)
        rows.append({"prompt": asked, "chosen": chosen, "rejected": rejected})
    file = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_recipe(pool: Path, **clean: Any) -> Recipe:
    return parse_recipe(
        {
            "name": "small",
            "prompts": {"imports": [{"path": str(pool), "name": "pool", "category": "colours"}]},
            "label": {"policy": "imported"},
            "clean": {"near_duplicate_similarity": 1.0, **clean},
            "train": None,
        }
    )


def publish(work: Work) -> Published:
    stages = [run_step(work, name) for name in ("import", *SETTLING_STEPS)]
    return publish_settled(work, stages)


def tell(messages: list[dict[str, str]]) -> str:
    return " ".join(message["content"] for message in messages)


def find_texts(rows: pl.DataFrame) -> str:
    return " ".join(tell(said) for part in ("prompt", "chosen", "rejected") for said in rows[part])


def test_covered_texts_leave_the_lake_and_the_lake_keeps_them(pool: Path, tmp_path: Path) -> None:
    plain, covering = make_recipe(pool), make_recipe(pool, quality={"pii": {"kinds": ["email"]}})
    lake = str(tmp_path / "lake")
    with open_work(lake, plain, None) as work:
        first = publish(work)
        before = make_rows(work.lake, first)
    assert find_texts(before).count(ADDRESS) == 2
    with open_work(lake, covering, None) as work:
        second = publish(work)
        after = make_rows(work.lake, second)
        kept = work.lake.query("SELECT count(*) AS n FROM responses WHERE contains(content, ?)",
                               [ADDRESS])  # fmt: skip
        page = build_report(work.lake, "small", 2, out=tmp_path / "page.html").read_text()
        shown = build_report(work.lake, "small", 1, out=tmp_path / "first.html").read_text()
    assert (first.version, second.version) == (1, 2)
    assert first.fingerprint != second.fingerprint
    assert second.rows == first.rows and before["pair_id"].equals(after["pair_id"])
    assert ADDRESS not in find_texts(after) and find_texts(after).count("[EMAIL]") == 2
    assert " \u2013 he knows." in find_texts(after)  # nothing beside it is touched
    assert kept["n"][0] == 1
    assert "[EMAIL]" in page and ADDRESS not in page
    assert ADDRESS in shown
    changed = [
        a != b for a, b in zip(before["chosen"].to_list(), after["chosen"].to_list(), strict=True)
    ]
    assert sum(changed) == 1


def test_another_set_of_kinds_is_another_version(pool: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    found = []
    for kinds in (["email"], ["email", "ip"], ["email"]):
        with open_work(lake, make_recipe(pool, quality={"pii": {"kinds": kinds}}), None) as work:
            found.append(publish(work))
    assert [version.version for version in found] == [1, 2, 1]


def test_marks_are_defects_of_the_rows(pool: Path, tmp_path: Path) -> None:
    rules = {"length_ratio": {"threshold": 10, "then": "mark"},
             "pii": {"kinds": ["email"], "then": "mark"}}  # fmt: skip
    with open_work(str(tmp_path), make_recipe(pool, quality=rules), None) as work:
        rows = make_rows(work.lake, publish(work))
        page = build_report(work.lake, "small", out=tmp_path / "page.html").read_text()
    by_text = {tell(row["prompt"])[-8:]: row["defects"] for row in rows.to_dicts()}
    named = sorted(name for names in rows["defects"] for name in names)
    assert named == ["chosen:pii", "pair:length_ratio", "prompt:pii"]
    assert by_text["ple.com."] == ["prompt:pii"]
    assert ADDRESS in find_texts(rows)
    assert 'id="filters"' in page and "length_ratio" in page


def test_what_is_dropped_is_counted_by_source_and_category(pool: Path, tmp_path: Path) -> None:
    rules = {"pii": {"kinds": ["email"], "then": "drop"}}
    with open_work(str(tmp_path), make_recipe(pool, quality=rules), None) as work:
        version = publish(work)
        page = build_report(work.lake, "small", out=tmp_path / "page.html").read_text()
    assert version.rows == PROMPTS - 2
    prompts, responses = version.metrics["filters"]
    assert (prompts["kind"], prompts["hits"], prompts["rows"]) == ("prompt", 1, PROMPTS)
    assert prompts["by_source"] == {"pool": [1, PROMPTS]}
    assert prompts["by_category"] == {"colours": [1, PROMPTS]}
    assert (responses["kind"], responses["hits"], responses["rows"]) == ("response", 1, 22)
    assert len(responses["examples"]) == 1
    assert "It is blue, for reason 1" in page  # an example of what was dropped


def test_a_shortcut_over_its_bound_stops_publishing(pool: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    strict = make_recipe(pool, bias={"length": 0.55})
    with open_work(lake, strict, None) as work:
        with pytest.raises(ShortcutTooStrong, match=r"length alone predicts 75.0 % .*match_length"):
            publish(work)
        assert work.lake.query("FROM versions").is_empty()
    matched = make_recipe(pool, bias={"length": 0.55, "match_length": True})
    with open_work(lake, matched, None) as work:
        version = publish(work)
        dropped = work.lake.query("SELECT action, value, threshold FROM decisions "
                                  "WHERE rule = 'length_matched'")  # fmt: skip
    assert version.rows == 6  # three of the longer and all three of the shorter
    assert dropped.rows() == [("drop", 0.75, 0.55)] * 6
    (length,) = [row for row in version.metrics["bias"]["rows"]
                 if (row["slice"], row["shortcut"]) == ("all", "length")]  # fmt: skip
    assert length["accuracy"] <= 0.55
    match = next(stage for stage in version.metrics["stages"] if stage["stage"] == "match")
    assert match["dropped"] == {"length_matched": 6}
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps(strict.model_dump(mode="json")))
    shown = run_here("bias", file, "--lake", lake, "--json")
    assert shown.returncode == 0, shown.stderr
    said = json.loads(shown.stdout)
    assert said["pairs"] == PROMPTS and "75.0 %" in said["broken"][0]
    assert "over its bound: length alone" in run_here("bias", file, "--lake", lake).stdout
