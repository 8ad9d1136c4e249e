"""Versions: what is different between two, and what a version without pairs says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.commands.shipping import diff
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from pipelines.recipes import find_recipe
from pipelines.ship.publish import (
    NothingToPublish,
    Unsettled,
    diff_versions,
    list_versions,
    publish_version,
)
from pipelines.steps import SETTLING_STEPS, open_work, publish_settled, run_step
from schemas.recipe import LabelSpec

PAIR = {
    "prompt_id": "p", "chosen_id": "a", "rejected_id": "b", "probability": 0.9, "margin": 0.8,
    "weight": 1.0, "agreement": 1.0, "tier": "silver", "decided_by": "llm", "annotators": ["j"],
    "category": "c", "source": "s", "licence": "MIT", "split": "train",
}  # fmt: skip
VERSION = {
    "name": "v", "snapshot": 1, "recipe_hash": "h", "recipe": "{}", "policy": "judge_only",
    "scopes": [], "licences": ["MIT"], "metrics": "{}", "cost": "{}",
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "same": {},
    "turned": {"chosen_id": "b", "rejected_id": "a"},
    "surer": {"probability": 0.95, "margin": 0.9},
    "moved": {"split": "test"},
    "gold": {"tier": "gold", "decided_by": "human", "annotators": ["person:1"]},
    "licence": {"licence": "CC0-1.0"},
    "two": {"probability": 0.7, "margin": 0.4, "annotators": ["j", "k"]},
}


def test_a_diff_tells_every_change(tmp_path: Path) -> None:
    old = [{**PAIR, "pair_id": name} for name in (*CHANGES, "old")]
    new = [{**PAIR, "pair_id": name, **change} for name, change in CHANGES.items()]
    new.append({**PAIR, "pair_id": "new"})
    with open_lake(tmp_path) as lake:
        for number, rows in ((1, old), (2, new)):
            made = {**VERSION, "version": number, "fingerprint": str(number), "rows": len(rows)}
            pairs = [{**row, "name": "v", "version": number} for row in rows]
            done = lake.append(
                {"versions": [made], "version_pairs": pairs}, run=new_run(), stage="test"
            )
            assert not done.quarantined
        changes = diff_versions(lake, "v@1", "v@2")
        nothing = diff_versions(lake, "v@1", "v@1")
    assert changes == {
        "from": "v@1",
        "to": "v@2",
        "added": ["new"],
        "removed": ["old"],
        "flipped": ["turned"],
        "relabelled": ["surer", "two"],
        "moved_split": ["moved"],
        "changed": ["gold", "licence", "two"],
        "unchanged": 1,
    }
    assert nothing["unchanged"] == len(old)
    assert not any(nothing[kind] for kind in ("added", "relabelled", "moved_split", "changed"))

    shown = CliRunner().invoke(diff, ["v@1", "v@2", "--lake", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "v@1 -> v@2: 1 pairs unchanged" in shown.output
    assert "  changed: 3\n    gold\n    licence\n    two\n" in shown.output
    as_json = CliRunner().invoke(diff, ["v@1", "v@2", "--lake", str(tmp_path), "--json"])
    assert json.loads(as_json.stdout) == changes


def test_nothing_to_publish_says_what_can_be_done(tmp_path: Path) -> None:
    recipe, base = find_recipe("tiny")
    recipe = recipe.model_copy(update={"label": LabelSpec(policy="judge_only")})
    with open_work(str(tmp_path), recipe, base) as work:
        for step in ("import", *SETTLING_STEPS):
            run_step(work, step)
        with pytest.raises(NothingToPublish, match=r"12 wait .*`assay review push`.*quotas"):
            publish_version(work.lake, work.run, work.look())


def test_what_was_not_decided_is_not_published_as_clean(tmp_path: Path) -> None:
    recipe, base = find_recipe("tiny")
    with open_work(str(tmp_path), recipe, base) as work:
        for step in ("import", *SETTLING_STEPS[: SETTLING_STEPS.index("filter")]):
            run_step(work, step)
        with pytest.raises(Unsettled, match=r"\(filter, mix must run again\)"):
            publish_version(work.lake, work.run, work.look())
        assert list_versions(work.lake) == []
        assert publish_settled(work, []).rows == 12
