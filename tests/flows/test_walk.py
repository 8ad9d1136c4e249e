"""The shipped recipe `tiny`, command by command, as a program reads it: one object each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import assay
from schemas.mixing import MixSpec
from tests.conftest import ROOT, write_recipe

STAGE_KEYS = {"rows_in", "kept", "dropped", "flipped", "to_review", "quarantined", "seconds"}
VERSION_KEYS = {"name", "version", "snapshot", "fingerprint", "rows"}


def walk(*arguments: str | Path) -> dict[str, Any]:
    """Run a command with `--json` in this process; what it prints is one JSON object."""
    done = CliRunner().invoke(assay, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, f"{arguments}: {done.output}{done.exception}"
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def walk_stage(*arguments: str | Path) -> dict[str, Any]:
    """The same of a stage, whose counts add up."""
    row = walk(*arguments)
    assert row.keys() >= STAGE_KEYS, arguments
    for kind in ("dropped", "quarantined"):
        assert all(isinstance(n, int) for n in row[kind].values())
    assert row["rows_in"] == row["kept"] + sum(row["dropped"].values()) + sum(
        row["quarantined"].values()
    )
    return row


@pytest.mark.timeout(300)
def test_tiny_walks_through_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.recipes import find_recipe

    monkeypatch.chdir(tmp_path)
    lake = ("--lake", tmp_path / "lake")
    pool = ROOT / "data" / "pools" / "tiny.jsonl"
    named = ("--name", "tiny", "--licence", "Apache-2.0", "--category", "general")
    assert walk_stage("import", pool, *named, *lake)["kept"] == 12
    for command in ("dedup", "label", "filter", "mix"):
        row = walk_stage(command, "tiny", *lake)
        assert (row["rows_in"], row["kept"], row["dropped"]) == (12, 12, {}), command

    first = walk("publish", "tiny", *lake)
    assert first.keys() >= VERSION_KEYS and (first["version"], first["rows"]) == (1, 12)
    half = find_recipe("tiny")[0].model_copy(update={"mix": MixSpec(total=6)})
    recipe = write_recipe(tmp_path / "half.yaml", half)
    mixed = walk_stage("mix", recipe, *lake)
    assert (mixed["rows_in"], mixed["kept"], sum(mixed["dropped"].values())) == (12, 6, 6)
    second = walk("publish", recipe, *lake)
    assert (second["version"], second["rows"]) == (2, 6)

    versions = walk("versions", *lake)["versions"]
    assert [row.keys() for row in versions] == [VERSION_KEYS | {"gold_withdrawn"}] * 2
    kept = [{key: row[key] for key in VERSION_KEYS} for row in (first, second)]
    assert versions == [{**row, "gold_withdrawn": 0} for row in kept]

    changes = walk("diff", "tiny@1", "tiny@2", *lake)
    assert (changes["from"], changes["to"]) == ("tiny@1", "tiny@2")
    assert (len(changes["removed"]), changes["added"], changes["unchanged"]) == (6, [], 6)

    told = walk("explain", changes["removed"][0], *lake)
    assert [row["version"] for row in told["versions"]] == [1]
    assert [row["stage"] for row in told["decisions"]] == ["mix"]

    report = walk("report", "tiny", *lake)
    assert report["version"] == "tiny@2"
    assert "tiny@2" in (tmp_path / report["report"]).read_text("utf-8")

    assert isinstance(walk("status", *lake)["services"], list)
    doctor = walk("doctor", *lake)
    assert doctor["ok"] is True
    assert all(
        finding.keys() == {"name", "ok", "required", "detail", "mend"}
        for finding in doctor["findings"]
    )
