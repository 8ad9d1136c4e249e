"""Publishing: freezing what a label policy says today as a version that never changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines.label.judges import load_writer
from pipelines.label.labelling import find_judgments
from pipelines.label.loop.measuring import measure_loop
from pipelines.label.loop.outcomes import FLIP, READING
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from pipelines.make.growing import make_growing_calls
from pipelines.make.rollouts import REFERENCE
from pipelines.ship.covering import find_findings, list_content
from pipelines.ship.report_filters import measure_filters
from pipelines.view import View
from schemas.errors import AssayError
from schemas.ids import make_fingerprint
from schemas.tables import polars_schema

STAGE = "publish"
CONTENT = (
    "pair_id", "prompt_id", "chosen_id", "rejected_id", "probability", "margin", "weight",
    "agreement", "tier", "decided_by", "annotators", "category", "source", "licence", "split",
)  # fmt: skip


class VersionMissing(AssayError):
    """No such version; the message names those that exist."""


class NothingToPublish(AssayError):
    """A recipe whose pairs were all dropped or wait for people."""


class ShortcutTooStrong(AssayError):
    """A shortcut predicts more of the labels than the recipe allows; the message says how much, and
    what mends it."""


class Unsettled(AssayError):
    """Somebody wrote to the lake after the stages had run; they must run again."""


@dataclass(frozen=True)
class Published:
    """A version, and whether this call made it."""

    name: str
    version: int
    snapshot: int
    fingerprint: str
    rows: int
    new: bool
    metrics: Mapping[str, Any]
    cost: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "name": self.name,
            "version": self.version,
            "snapshot": self.snapshot,
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "new": self.new,
            "metrics": dict(self.metrics),
            "cost": dict(self.cost),
        }


def publish_version(
    lake: Lake, run: Run, view: View, stages: Sequence[StageSummary] = ()
) -> Published:
    """Freeze the mixed pairs of a view as the next version of the recipe's name.

    Identical content (by fingerprint) returns the version that has it. Licences, cost and the
    counts of `stages` stand in the `versions` row; they are no part of the fingerprint.

    Raises:
        NothingToPublish: no pair is left.
        ShortcutTooStrong: a bound of `clean.bias` is passed.
        Unsettled: a scope of the view was never decided, so that nothing in it was dropped yet.
    """
    name = view.recipe.name
    with lake.lease(f"{STAGE}:{name}", run):
        content = make_content(view)
        undecided = _find_undecided(lake, view)
        if undecided:
            raise Unsettled(
                f"{name}: the lake changed while the stages ran ({', '.join(undecided)} must run "
                "again); run the same command again"
            )
        if len(content) == 0:
            waiting = int((view.labels["status"] == "to_review").sum())
            raise NothingToPublish(
                f"{name}: no pair is left to publish ({len(view.pairs)} candidates, {waiting} wait "
                "for people); send those to people with `assay review push`, or loosen "
                "label.threshold or the quotas"
            )
        bias = view.audit_bias()
        if bias["broken"]:
            raise ShortcutTooStrong(f"{name}: " + "; ".join(bias["broken"]))
        findings = find_findings(lake, view.scopes.values(), content)
        said = list_content(findings, view.recipe.clean.quality.pii)
        order = view.recipe.mix.order
        said += [["order", order]] if order else []
        fingerprint = make_fingerprint([*content.iter_rows(), *said])
        same = _read_versions(
            lake, "name = ? AND fingerprint = ? ORDER BY version LIMIT 1", [name, fingerprint]
        )
        if same:
            return same[0]
        last = lake.query("SELECT max(version) AS v FROM versions WHERE name = ?", [name])["v"][0]
        version = (last or 0) + 1
        row = {
            "name": name,
            "version": version,
            "snapshot": lake.snapshot(),
            "fingerprint": fingerprint,
            "rows": len(content),
            "recipe_hash": view.recipe.recipe_hash,
            "recipe": json.dumps(view.recipe.model_dump(mode="json"), ensure_ascii=False),
            "policy": view.recipe.label.policy,
            "scopes": sorted(view.scopes.values()),
            "licences": sorted(set(content["licence"])),
            "metrics": json.dumps(
                {**measure(view, content, stages), "bias": bias}, ensure_ascii=False
            ),
            "cost": json.dumps(measure_cost(view, len(content))),
        }
        frozen = content.with_columns(name=pl.lit(name), version=pl.lit(version, dtype=pl.Int64))
        outcome = lake.append({"version_pairs": frozen, "versions": [row]}, run=run, stage=STAGE)
        if outcome.quarantined or outcome.inserted["version_pairs"] != len(content):
            raise AssertionError(f"a published pair was refused: {outcome}")
    found = find_version(lake, f"{name}@{version}")
    return Published(**{**found.__dict__, "new": True})


def _find_undecided(lake: Lake, view: View) -> list[str]:
    done = set(lake.query("SELECT stage, scope FROM runs").iter_rows())
    return [stage for stage, scope in view.scopes.items() if (stage, scope) not in done]


def make_content(view: View) -> pl.DataFrame:
    """The rows that a version freezes, sorted by pair_id, each key checked."""
    content = (
        view.weighted.select(CONTENT)
        .with_columns(pl.col("probability", "margin", "agreement", "weight").round(9))
        .sort("pair_id")
    )
    if content["pair_id"].n_unique() != len(content):
        raise AssertionError("a pair stands twice in what is to be published")
    return content


def measure(view: View, content: pl.DataFrame, stages: Sequence[StageSummary]) -> dict[str, Any]:
    """What the report shows of a version: shares, splits, who decided, the counts by stage."""
    reference = set(view.rollouts.filter(pl.col("policy") == REFERENCE)["response_id"])
    chosen = content["chosen_id"].to_list()
    summaries = [summary.to_json() for summary in stages]
    quota = next((s["quota"] for s in reversed(summaries) if s["stage"] == "mix"), {})
    read = view.read
    loop = {}
    if read is not None:
        said = find_judgments(view.lake, view.recipe, view.judges, view.pairs, view.variants)
        kept = content.filter(pl.col("decided_by").is_in([READING, FLIP])).select("pair_id")
        loop = {"loop": measure_loop(view.lake, view.recipe, read, said, kept)}
    return {
        **loop,
        "stages": summaries,
        "by_category": _count(content["category"]),
        "by_source": _count(content["source"]),
        "decided_by": _count(content["decided_by"]),
        "tiers": _count(content["tier"]),
        "splits": _count(content["split"]),
        "quota": quota.get("category", {}),
        "quota_source": quota.get("source", {}),
        "filters": measure_filters(view),
        "reference_share": sum(i in reference for i in chosen) / len(chosen),
        "models": sorted({spec.model for spec in view.recipe.models.values()}),
    }


def measure_cost(view: View, rows: int) -> dict[str, Any]:
    """Tokens and seconds of the calls behind a version (paid for in whichever run), in all and
    per kept pair: of its prompts, its rollouts, and its judges on its prompts. `seconds` are the
    requests' own, added up; many ran at once."""
    calls = [c.request.request_id for c in make_growing_calls(view.recipe, view.base)]
    calls += view.all_rollouts["request_id"].to_list()
    judges = [judge.annotator for judge in view.judges]
    writer = load_writer(view.recipe, view.base)
    judges += [writer.annotator] if writer else []
    columns = "request_id, tokens_in, tokens_out, seconds"
    frame = view.lake.query(
        "SELECT count(*) AS calls, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, "
        f"sum(seconds) AS seconds FROM (SELECT {columns} FROM syntheses SEMI JOIN wanted "
        f"USING (request_id) UNION ALL SELECT {columns} FROM rollouts SEMI JOIN wanted "
        f"USING (request_id) UNION ALL SELECT {columns} FROM answers SEMI JOIN judged "
        "USING (prompt_id) WHERE list_contains(?, annotator)) WHERE tokens_out IS NOT NULL",
        [judges],
        wanted=pl.DataFrame({"request_id": calls}, schema={"request_id": pl.String}),
        judged=view.pairs.filter(pl.col("basis") != "verifier").select("prompt_id").unique(),
    ).row(0, named=True)
    tokens_in, tokens_out = int(frame["tokens_in"] or 0), int(frame["tokens_out"] or 0)
    seconds = float(frame["seconds"] or 0.0)
    return {
        "calls": frame["calls"],
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "seconds": round(seconds, 3),
        "tokens_per_pair": round((tokens_in + tokens_out) / rows, 1),
        "seconds_per_pair": round(seconds / rows, 4),
    }


def list_versions(lake: Lake, name: str | None = None) -> list[Published]:
    """The published versions, oldest first."""
    if name is None:
        return _read_versions(lake, "true ORDER BY name, version", [])
    return _read_versions(lake, "name = ? ORDER BY version", [name])


def find_version(lake: Lake, reference: str) -> Published:
    """The version that `NAME` (the newest) or `NAME@V` means.

    Raises:
        VersionMissing: it does not exist, or V is no number.
    """
    name, _, number = reference.partition("@")
    number = number.removeprefix("v")
    found = list_versions(lake, name)
    if number:
        found = [v for v in found if str(v.version) == number]
    if found:
        return found[-1]
    known = ", ".join(f"{v.name}@{v.version}" for v in list_versions(lake)) or "none yet"
    raise VersionMissing(f"{reference}: no such version in this lake; published: {known}")


def read_pairs(lake: Lake, version: Published) -> pl.DataFrame:
    """The frozen rows of a version, sorted by pair_id."""
    columns = ", ".join(name for name in polars_schema("version_pairs"))
    return lake.query(
        f"SELECT {columns} FROM version_pairs WHERE name = ? AND version = ? ORDER BY pair_id",
        [version.name, version.version],
    )


def diff_versions(lake: Lake, first: str, second: str) -> dict[str, Any]:
    """What changed from one version to another, as sorted pair ids.

    `added` and `removed` are in one of the two. Of the pairs in both, `flipped` have their sides
    turned round, `relabelled` another probability for the same side, `moved_split` another split
    and `changed` another value in any other column (tier, who decided, licence, ...); a pair may
    be in several of them. `unchanged` counts the pairs whose rows are equal.
    """
    old_version, new_version = find_version(lake, first), find_version(lake, second)
    old = {row["pair_id"]: row for row in read_pairs(lake, old_version).iter_rows(named=True)}
    new = {row["pair_id"]: row for row in read_pairs(lake, new_version).iter_rows(named=True)}
    both = sorted(old.keys() & new.keys())
    differ = {i: [c for c in CONTENT if old[i][c] != new[i][c]] for i in both}
    named = {"chosen_id", "rejected_id", "probability", "margin", "split"}
    return {
        "from": f"{old_version.name}@{old_version.version}",
        "to": f"{new_version.name}@{new_version.version}",
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "flipped": [i for i in both if "chosen_id" in differ[i]],
        "relabelled": [
            i for i in both if "probability" in differ[i] and "chosen_id" not in differ[i]
        ],
        "moved_split": [i for i in both if "split" in differ[i]],
        "changed": [i for i in both if set(differ[i]) - named],
        "unchanged": sum(not columns for columns in differ.values()),
    }


def _read_versions(lake: Lake, where: str, parameters: list[Any]) -> list[Published]:
    frame = lake.query(
        "SELECT name, version, snapshot, fingerprint, rows, metrics, cost FROM versions "
        f"WHERE {where}",
        parameters,
    )
    return [
        Published(
            name=row["name"],
            version=row["version"],
            snapshot=row["snapshot"],
            fingerprint=row["fingerprint"],
            rows=row["rows"],
            new=False,
            metrics=json.loads(row["metrics"]),
            cost=json.loads(row["cost"]),
        )
        for row in frame.iter_rows(named=True)
    ]


def _count(values: pl.Series) -> dict[str, int]:
    return dict(sorted(Counter(values.to_list()).items()))
