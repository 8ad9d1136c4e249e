"""The report on the sources of a version: made once, kept in `grades`, told from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.ship.covering import read_scopes
from pipelines.ship.exams.examination import Examination
from pipelines.ship.publish import Published, read_pairs
from pipelines.ship.sources.facts import describe_sources, find_said
from pipelines.ship.sources.silenced import value_voices
from pipelines.ship.sources.worth import value_sources
from pipelines.view import View
from schemas.ids import make_id
from schemas.recipe import parse_recipe

STAGE = "sources"
SOURCES = "sources left out"
"""The `set_name` of the report among `grades`: no exam's, but taken on the same items."""
SOURCES_VERSION = 2
NEWEST = """
SELECT detail FROM grades WHERE name = ? AND version = ? AND set_name = ?
ORDER BY created_at DESC, grade_id LIMIT 1
"""


def take_sources(
    lake: Lake, run: Run, version: Published, base: Path | None = None
) -> dict[str, Any]:
    """What each source and each voice of a version is worth. What the lake has is not done again.

    Args:
        base: the folder that the files of the version's recipe lie beside.

    Returns:
        version; sources: a list of what `facts.describe_sources` says of each, with its row of
        `worth.value_sources` under `worth` (None where it cannot be said); exam: the rest of
        `value_sources`; voices: of `silenced.value_voices`.

    Raises:
        engines.assets.AssetMissing and what a broken file of the recipe raises.
    """
    key = make_id("sources", SOURCES_VERSION, version.name, version.version, version.fingerprint)
    with lake.lease(f"{STAGE}:{version.fingerprint}", run):
        known = lake.query("SELECT detail FROM grades WHERE grade_id = ?", [key])
        if len(known):
            found: dict[str, Any] = json.loads(known["detail"][0])
            return found
        found = _measure(lake, run, version, base)
        exam = found["exam"]
        row = {
            "grade_id": key, "name": version.name, "version": version.version,
            "set_name": SOURCES, "set_hash": version.fingerprint, "n": exam["n"],
            "score": exam["score"], "ci_low": exam["ci"][0], "ci_high": exam["ci"][1],
            "detail": json.dumps(found, ensure_ascii=False, allow_nan=False),
        }  # fmt: skip
        lake.append({"grades": [row]}, run=run, stage=STAGE)
    return found


def find_sources(lake: Lake, version: Published) -> dict[str, Any] | None:
    """The newest report on a version's sources, if one was taken."""
    rows = lake.query(NEWEST, [version.name, version.version, SOURCES])
    return json.loads(rows["detail"][0]) if len(rows) else None


def _measure(lake: Lake, run: Run, version: Published, base: Path | None) -> dict[str, Any]:
    _, content = read_scopes(lake, version.name, version.version)
    recipe = parse_recipe(content, version.name)
    worth = value_sources(Examination(lake, run, version, recipe.seed))
    pairs = read_pairs(lake, version)
    with lake.look_back(version.snapshot) as past:
        view = View(cast(Lake, past), recipe, base)  # which only reads
        said = find_said(view)
        facts = describe_sources(lake, view, said, pairs)
        run.tell("sources: voices left out in turn")
        voices = value_voices(view, said, pairs)
    each = worth.pop("sources")
    sources = [{**row, "worth": each.get(row["source"])} for row in facts]
    return {"version": f"{version.name}@{version.version}", "exam": worth, "sources": sources,
            "voices": voices}  # fmt: skip
