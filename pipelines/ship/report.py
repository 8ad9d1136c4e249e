"""The report of a published version: one HTML page that needs nothing beside itself.

The pairs are counted afresh from `version_pairs`; judgments, rollouts and what people were asked
are read as they stood at the version's snapshot, so that what a report says of the data stays the
same for ever. What only a run can know (the stages, the quota, the cost) comes from the `versions`
row; whatever is absent there is shown as not recorded. The reward model and its exam are the newest
ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from engines.pages import render_page
from pipelines.clean.differing import cut_text
from pipelines.clean.funnel import lay_out_funnels
from pipelines.clean.rule_names import name_rule
from pipelines.label.reliability import measure_annotators
from pipelines.lake.catalogue import Lake
from pipelines.ship import figures
from pipelines.ship.card import is_judged_by_embedded
from pipelines.ship.covering import make_cover
from pipelines.ship.figures_loop import plot_iterations
from pipelines.ship.figures_people import (
    plot_learning,
    plot_minutes,
    plot_people,
    plot_prototypes,
)
from pipelines.ship.figures_reliability import plot_calibration
from pipelines.ship.loops import tell_loop
from pipelines.ship.publish import Published, find_version
from pipelines.ship.report_exams import describe_exams
from pipelines.ship.report_filters import plot_length_wins, read_examples, read_quarantined
from pipelines.ship.report_people import describe_people
from pipelines.ship.report_reliability import describe_reliability
from pipelines.ship.report_sources import report_sources
from pipelines.ship.tastes import describe_prototypes
from pipelines.ship.train import TrainedModel, find_models_of
from schemas.errors import AssayError

TEMPLATE = "report/report.html.jinja"
EXAMPLES = 8
TEXT_CHARS = 4000
OF_VERSION = "name = ? AND version = ?"

JUDGES_SQL = """
WITH prompts_of AS (SELECT DISTINCT prompt_id FROM version_pairs WHERE name = ? AND version = ?),
said AS (
    SELECT *, coalesce(p_a, 0.5) AS p, p IS DISTINCT FROM 0.5 AND NOT tie AS decided,
           ("order" = 'ab') = (p > 0.5) AS took_first,
           CASE WHEN NOT decided THEN 'tie' WHEN p > 0.5 THEN 'a' ELSE 'b' END AS verdict
    FROM judgments AT (VERSION => {snapshot}) SEMI JOIN prompts_of USING (prompt_id)
    WHERE kind = 'llm' AND response_b IS NOT NULL
),
twice AS (
    SELECT annotator, count(*) AS both_orders,
           count(*) FILTER (first.verdict = second.verdict) AS agree
    FROM (FROM said WHERE valid AND "order" = 'ab') AS first
    JOIN (FROM said WHERE valid AND "order" = 'ba') AS second
        USING (annotator, prompt_id, response_a, response_b, sample_index)
    WHERE first.criterion IS NOT DISTINCT FROM second.criterion
    GROUP BY annotator
),
counted AS (
    SELECT annotator, count(*) AS judgments, count(*) FILTER (NOT valid) AS invalid,
           count(*) FILTER (valid AND decided AND "order" IS NOT NULL) AS decided,
           count(*) FILTER (valid AND decided AND took_first) AS took_first
    FROM said GROUP BY annotator
)
SELECT annotator, judgments, invalid, decided, took_first,
       coalesce(both_orders, 0) AS both_orders, coalesce(agree, 0) AS agree
FROM counted LEFT JOIN twice USING (annotator) ORDER BY annotator
"""

WRITERS_SQL = """
WITH wrote AS (
    SELECT DISTINCT response_id, policy FROM rollouts AT (VERSION => {snapshot})
),
sides AS (
    SELECT chosen_id AS response_id, 1 AS chosen, 0 AS rejected
    FROM version_pairs WHERE name = ? AND version = ?
    UNION ALL
    SELECT rejected_id, 0, 1 FROM version_pairs WHERE name = ? AND version = ?
)
SELECT policy, sum(chosen)::BIGINT AS chosen, sum(rejected)::BIGINT AS rejected
FROM sides JOIN wrote USING (response_id) GROUP BY policy ORDER BY policy
"""

EXAMPLES_SQL = """
SELECT pair_id, pair.category, pair.source, pair.licence, margin, tier, decided_by, annotators,
       prompt.messages, chosen.content AS chosen, rejected.content AS rejected
FROM (
    SELECT *, row_number() OVER (PARTITION BY category ORDER BY pair_id) AS place
    FROM version_pairs WHERE name = ? AND version = ? AND split IN ('train', 'gold-teach')
) AS pair
JOIN prompts AS prompt USING (prompt_id)
JOIN responses AS chosen ON chosen.response_id = chosen_id
JOIN responses AS rejected ON rejected.response_id = rejected_id
ORDER BY place, pair.category, pair_id LIMIT ?
"""


class ReportFailed(AssayError):
    """A report that could not be written; the message says where and why."""


def build_report(lake: Lake, name: str, version: int | None = None, *, out: Path) -> Path:
    """Write the report of `name` at `version` (the newest where it is None).

    Args:
        out: the file to write, or a folder that is there and gets `report.html`.

    Returns:
        The page. The same lake gives the same bytes.

    Raises:
        pipelines.ship.publish.VersionMissing: there is no such version.
        ReportFailed: the file cannot be written.
    """
    page = render_report(gather_facts(lake, name, version))
    path = out
    try:
        path = out / "report.html" if out.is_dir() else out
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise ReportFailed(f"{path} cannot be written: {reason}; name another file") from error
    return path


def gather_facts(lake: Lake, name: str, version: int | None = None) -> dict[str, Any]:
    """Everything the page says, by the names that the template uses.

    Raises:
        pipelines.ship.publish.VersionMissing: there is no such version.
    """
    found = find_version(lake, name if version is None else f"{name}@{version}")
    key = [found.name, found.version]
    row = lake.query(f"FROM versions WHERE {OF_VERSION}", key).row(0, named=True)
    metrics, cost, recipe = (_load(row.pop(column)) for column in ("metrics", "cost", "recipe"))
    pairs = lake.query(
        "SELECT pair.margin, pair.tier, pair.decided_by, pair.annotators, pair.category, "
        "pair.source, pair.split, length(chosen.content) AS chosen_chars, "
        "length(rejected.content) AS rejected_chars "
        f"FROM (FROM version_pairs WHERE {OF_VERSION}) AS pair "
        "LEFT JOIN responses AS chosen ON chosen.response_id = chosen_id "
        "LEFT JOIN responses AS rejected ON rejected.response_id = rejected_id",
        key,
    )
    stages = metrics.get("stages") or []
    judges = lake.query(JUDGES_SQL.format(snapshot=int(row["snapshot"])), key)
    reliability = measure_annotators(
        lake, snapshot=int(row["snapshot"]), version=(found.name, found.version)
    )
    people = describe_people(lake, found, recipe)
    prototypes = describe_prototypes(lake, found)
    writers = lake.query(WRITERS_SQL.format(snapshot=int(row["snapshot"])), key * 2)
    categories = _hold_against_quota(pairs, "category", metrics.get("quota") or {})
    cover = make_cover(recipe)
    bias = metrics.get("bias") or {}
    loop = tell_loop(metrics.get("loop"))
    bounds = (recipe.get("clean") or {}).get("bias") or {}
    model, curve = _find_model(lake, found)
    exam, scores = _find_exam(lake, model)
    exams = describe_exams(lake, found)
    sources = report_sources(lake, found)
    return {
        "version": row,
        "cost": {**_share_cost(cost, row["rows"]), **cost},
        "stages": stages,
        "deciders": _count_deciders(pairs),
        "tiers": sorted(pairs["tier"].unique()),
        "writers": writers.to_dicts(),
        "reference_share": _find_reference_share(metrics, writers, len(pairs)),
        "embedded_labels": _count_embedded_labels(recipe, judges, pairs),
        "judges": judges.to_dicts(),
        "reliability": describe_reliability(reliability),
        "people": people,
        "funnels": lay_out_funnels(stages, row["rows"]),
        "filters": read_examples(lake, metrics.get("filters") or [], cover),
        "quarantined": read_quarantined(lake, stages, cover),
        "shortfalls": _find_shortfalls(stages),
        "bias": {"rows": bias.get("rows") or [], "pairs": bias.get("pairs"), "bounds": bounds},
        "prototypes": prototypes,
        "loop_facts": loop,
        "compositions": {
            "category": categories.to_dicts(),
            "source": _hold_against_quota(
                pairs, "source", metrics.get("quota_source") or {}
            ).to_dicts(),
        },
        "splits": pairs.group_by("split").len("pairs").sort("split").to_dicts(),
        "lengths": [_describe(pairs[f"{side}_chars"], side) for side in ("chosen", "rejected")],
        "margin": _describe(pairs["margin"], "margin"),
        "longer_share": pairs.select(
            (pl.col("chosen_chars") > pl.col("rejected_chars")).mean()
        ).item(),
        "model": {"model_id": model.model_id, "base": model.base, **model.metrics}
        if model
        else None,
        "exam": exam,
        "scores": scores.to_dicts(),
        "exams": exams,
        "sources": sources,
        "examples": [
            _cut_texts(_cover(pair, cover))
            for pair in lake.query(EXAMPLES_SQL, [*key, EXAMPLES]).to_dicts()
        ],
        "recipe": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else None,
        "figures": {
            "funnel": figures.plot_funnel(stages),
            "flips": figures.plot_order_flips(
                judges.select("annotator", "agree", flipped=pl.col("both_orders") - pl.col("agree"))
            ),
            "calibration": plot_calibration(reliability.curves),
            "people": plot_people(people["people"], people["bar"]) if people else "",
            "minutes": plot_minutes(people["curve"], people["exams"]) if people else "",
            "loop": plot_iterations(loop["iterations"]) if loop and loop["iterations"] else "",
            "learning": plot_learning(people["learning"]) if people else "",
            "prototypes": plot_prototypes(prototypes["cards"]) if prototypes else "",
            "categories": figures.plot_categories(
                categories.select(category="key", pairs="pairs", quota="wanted")
            ),
            "length_wins": plot_length_wins(bias.get("lengths") or [], bounds.get("length")),
            "lengths": figures.plot_lengths(pairs["chosen_chars"], pairs["rejected_chars"]),
            "margins": figures.plot_margins(pairs["margin"]),
            "training": figures.plot_training(curve),
            "exam": figures.plot_exam(scores),
            **{f"exams_{name}": figure for name, figure in exams["figures"].items()},
            **{
                f"worth_{name}": figure
                for name, figure in (sources or {"figures": {}})["figures"].items()
            },
        },
    }


def render_report(facts: Mapping[str, Any]) -> str:
    """The page that says `facts` (see `gather_facts`). Every text in it is escaped."""
    from markupsafe import Markup

    drawn = {key: Markup(svg) for key, svg in facts["figures"].items()}
    return render_page(TEMPLATE, {**facts, "figures": drawn, "name_rule": name_rule})


def _find_model(lake: Lake, version: Published) -> tuple[TrainedModel | None, pl.DataFrame]:
    """The newest model of a version and its curve (`step`, `loss`, `accuracy`)."""
    schema = {"step": pl.Float64, "loss": pl.Float64, "accuracy": pl.Float64}
    model = next(iter(find_models_of(lake, version)), None)
    points = (model.metrics.get("curve") if model else None) or []
    curve = [{column: point.get(column) for column in schema} for point in points]
    return model, pl.DataFrame(curve, schema=schema)


def _find_exam(
    lake: Lake, model: TrainedModel | None
) -> tuple[dict[str, Any] | None, pl.DataFrame]:
    """The newest exam of a model, and its scores (`name`, `score`, `ci_low`, `ci_high`, `n`)."""
    columns = ("score", "ci_low", "ci_high")
    schema = {"name": pl.String, **dict.fromkeys(columns, pl.Float64), "n": pl.Int64}
    rows = lake.query(
        "FROM exams WHERE model_id = ? ORDER BY created_at DESC, exam_id LIMIT 1",
        [model.model_id if model else ""],
    )
    if not len(rows) or model is None:
        return None, pl.DataFrame(schema=schema)
    exam = rows.row(0, named=True)
    exam["by_category"] = dict(sorted(_load(exam["by_category"]).items()))
    scores = [
        {"name": f"reward model ({model.base})", "n": exam["n"]} | {c: exam[c] for c in columns}
    ]
    for name, baseline in _load(exam["baselines"]).items():
        row = {"name": name, "n": baseline.get("n", exam["n"])}
        scores.append(row | {column: baseline.get(column) for column in columns})
    return exam, pl.DataFrame(scores, schema=schema)


def _count_deciders(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Who decided, with the pairs of each tier."""
    rows: dict[str, dict[str, int]] = {}
    counts = pairs.group_by("decided_by", "tier").len().sort("decided_by", "tier")
    for decided_by, tier, count in counts.iter_rows():
        rows.setdefault(decided_by, {})[tier] = count
    return [{"decided_by": who, "by_tier": by_tier} for who, by_tier in rows.items()]


def _find_reference_share(
    metrics: Mapping[str, Any], writers: pl.DataFrame, pairs: int
) -> float | None:
    """The share of chosen responses that are reference answers, frozen or else counted."""
    if metrics.get("reference_share") is not None:
        return float(metrics["reference_share"])
    if not len(writers) or not pairs:
        return None
    return float(writers.filter(policy="reference")["chosen"].sum() / pairs)


def _count_embedded_labels(
    recipe: Mapping[str, Any], judges: pl.DataFrame, pairs: pl.DataFrame
) -> int:
    """Pairs that an LLM judge had a say in, where the recipe judges with the embedded model."""
    if not is_judged_by_embedded(recipe):
        return 0
    return pairs["annotators"].list.eval(pl.element().is_in(judges["annotator"])).list.any().sum()


def _hold_against_quota(
    pairs: pl.DataFrame, column: str, quota: Mapping[str, Mapping[str, Any]]
) -> pl.DataFrame:
    """`key`, `pairs`, `wanted` (null without a quota) and `short` (pairs missing), most first."""
    schema = {"key": pl.String, "wanted": pl.Int64}
    wanted = pl.DataFrame(
        [{"key": key, "wanted": value.get("wanted")} for key, value in quota.items()], schema=schema
    )
    counted = pairs.group_by(pl.col(column).alias("key")).agg(
        pl.len().cast(pl.Int64).alias("pairs")
    )
    return (
        counted.join(wanted, on="key", how="full", coalesce=True)
        .with_columns(pl.col("pairs").fill_null(0))
        .with_columns(short=(pl.col("wanted") - pl.col("pairs")).clip(lower_bound=0))
        .sort(["pairs", "key"], descending=[True, False])
    )


def _share_cost(cost: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Tokens and seconds per kept pair, for a cost that names only totals."""
    tokens = [cost[key] for key in ("tokens_in", "tokens_out") if cost.get(key) is not None]
    seconds = cost.get("seconds")
    return {
        "tokens_per_pair": sum(tokens) / rows if tokens and rows else None,
        "seconds_per_pair": seconds / rows if seconds is not None and rows else None,
    }


def _describe(values: pl.Series, name: str) -> dict[str, Any]:
    """Least, quartiles, mean and most of `values`; each None where there are none."""
    quartiles = {f"q{q}": values.quantile(q / 100, "linear") for q in (25, 50, 75)}
    return {
        "name": name,
        "min": values.min(),
        **quartiles,
        "mean": values.mean(),
        "max": values.max(),
    }


def _cover(pair: dict[str, Any], cover: Callable[[str], str]) -> dict[str, Any]:
    messages = [{**m, "content": cover(m["content"])} for m in pair["messages"]]
    return pair | {"messages": messages} | {k: cover(pair[k]) for k in ("chosen", "rejected")}


def _cut_texts(pair: dict[str, Any]) -> dict[str, Any]:
    messages = [{**m, "content": cut_text(m["content"], TEXT_CHARS)} for m in pair["messages"]]
    sides = {side: cut_text(pair[side], TEXT_CHARS) for side in ("chosen", "rejected")}
    return pair | {"messages": messages} | sides


def _find_shortfalls(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the last mix could not give (see `pipelines.clean.shortfall`)."""
    mixes = [stage for stage in stages if stage.get("stage") == "mix"]
    return list(mixes[-1].get("shortfalls") or []) if mixes else []


def _load(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
