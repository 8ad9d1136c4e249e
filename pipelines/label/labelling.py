"""Labelling as a stage: a policy over the judgments, with its undecided pairs written down."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from annotators.calibration import calibration_from_json
from annotators.signals.scoring import MODELS, SCORING_MARK
from annotators.talk import Judge
from annotators.verifiers import VERIFIERS, VERSION_MARK
from annotators.votes import average_opinions
from pipelines.label.juries import JURIES
from pipelines.label.latest import keep_last_guided, keep_rankings_of
from pipelines.label.loop.outcomes import PoolRead, find_decisions, read_labels
from pipelines.label.people.counting import find_discarded, keep_counted
from pipelines.label.people.tastes import PARTED, Tastes, heed_tastes
from pipelines.label.policies import POLICIES, gold_loop
from pipelines.label.reliability import LEAST_TO_CALIBRATE, read_cards
from pipelines.label.variants import VARIANTS, speak_of_standing
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.editions import drop_superseded
from pipelines.lake.run import Run, StageSummary
from pipelines.lake.teaching import read_splits
from schemas.errors import AssayError
from schemas.recipe import Recipe

STAGE = "label"
RULES = 1
LOOP = "gold_loop"


class NotCalibrated(AssayError):
    """A recipe wants calibrated judges, and one of them was never measured."""


def find_judgments(
    lake: Lake,
    recipe: Recipe,
    judges: list[Judge],
    pairs: pl.DataFrame,
    variants: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The judgments that speak of `pairs`: of verifiers, of people, of the recipe's judges and of
    its imported pools, with the columns that `pipelines.label.policies` adds. Of people what
    `pipelines.label.people.counting` counts; of a pool's editions what the newest says of a pair;
    of a verifier's verdicts those of its present version; of a ranking what was concluded of the
    group that `pairs` form. What was said of `variants` of a response (variant, stands) counts as
    said of the response that stands for them."""
    same = pl.DataFrame(schema=VARIANTS) if variants is None else variants
    found = lake.query(
        "WITH names AS (SELECT response, coalesce(variant, response) AS said FROM "
        "(SELECT response_a AS response FROM pairs UNION SELECT response_b FROM pairs) "
        "LEFT JOIN (FROM variants UNION SELECT DISTINCT stands, stands FROM variants) "
        "ON stands = response) "
        "SELECT j.* FROM judgments j JOIN names a ON a.said = j.response_a "
        "LEFT JOIN names b ON b.said = j.response_b "
        "WHERE j.response_b IS NULL OR (least(a.response, b.response), "
        "greatest(a.response, b.response)) IN (SELECT (response_a, response_b) FROM pairs) "
        "ORDER BY j.judgment_id",
        pairs=pairs.select("response_a", "response_b"),
        variants=same,
    )
    models = {judge.annotator: judge.model.policy for judge in judges}
    one_order = [j.annotator for j in judges if j.specification.get("orders", "both") != "both"]
    sources = [source.name for source in recipe.prompts.imports]
    pools = [f"import:{name}" for name in sources]
    name = pl.col("annotator").str
    stale = pl.any_horizontal(
        name.starts_with(kind) & ~name.ends_with(mark)
        for kind, mark in ((VERIFIERS, VERSION_MARK), (MODELS, SCORING_MARK))
    )
    imported = pl.col("annotator").str.starts_with("import:")
    mine = pl.col("annotator").str.split("/").list.first().is_in(pools)
    ours = drop_superseded(lake, found, sources).filter(
        ~stale,
        pl.when(imported)
        .then(mine)
        .when(pl.col("kind") == "llm")
        .then(pl.col("annotator").is_in(list(models)))
        .otherwise(pl.lit(True)),
    )
    return (
        keep_rankings_of(pairs, keep_last_guided(keep_counted(speak_of_standing(ours, same))))
        .with_columns(
            one_order=pl.col("annotator").is_in(one_order),
            model=pl.col("annotator").replace_strict(models, default=None, return_dtype=pl.String),
            p_raw="p_a",
        )
        .sort("judgment_id")
    )


def apply_policy(
    lake: Lake,
    recipe: Recipe,
    judges: list[Judge],
    pairs: pl.DataFrame,
    variants: pl.DataFrame | None = None,
    tastes: Tastes | None = None,
    read: PoolRead | None = None,
) -> pl.DataFrame:
    """`pairs` with the columns of `pipelines.label.policies` and chosen_id, rejected_id,
    probability (of the likelier side) and margin (2 p - 1). A pair that waits for people has no
    chosen side.

    Args:
        variants: see `find_judgments`.
        tastes: what prototypes of people say of the pairs, where the recipe has labels heed them.
        read: what the pool was read to be, where the policy is of the gold loop.
    """
    judgments = find_judgments(lake, recipe, judges, pairs, variants)
    if recipe.label.calibration:
        judgments = calibrate(lake, judgments, recipe.label.calibration)
    split = pairs.join(
        read_splits(lake, pairs).select("prompt_id", "split"),
        on="prompt_id",
        how="left",
        maintain_order="left",
    )
    policies = {**POLICIES, **JURIES, LOOP: gold_loop}
    labels = policies[recipe.label.policy](split, judgments, recipe.label.threshold)
    if read is not None:
        labels = read_labels(labels, read)
    labels = heed_tastes(discard(labels, find_discarded(lake)), tastes, recipe)
    labelled, a_wins = pl.col("status") == "labelled", pl.col("p_a") > 0.5
    return (
        pairs.join(labels, on="pair_id", maintain_order="left")
        .with_columns(
            chosen_id=pl.when(labelled & a_wins)
            .then("response_a")
            .when(labelled)
            .then("response_b"),
            rejected_id=pl.when(labelled & a_wins)
            .then("response_b")
            .when(labelled)
            .then("response_a"),
            probability=pl.max_horizontal("p_a", 1 - pl.col("p_a")),
        )
        .with_columns(margin=2 * pl.col("probability") - 1)
    )


def discard(labels: pl.DataFrame, discarded: pl.DataFrame) -> pl.DataFrame:
    """The labels, of which pairs that people could not decide have none: `status` is `discarded`,
    and `reason` theirs. Nobody is asked about them again."""
    gone = labels.join(discarded, on="pair_id").with_columns(
        *(pl.lit(None, labels.schema[name]).alias(name)
          for name in ("p_a", "agreement", "tier", "decided_by", "annotators", "entropy")),
        status=pl.lit("discarded"),
        reason=pl.col("because"),
    )  # fmt: skip
    kept = labels.join(discarded, on="pair_id", how="anti")
    return pl.concat([kept, gone.select(labels.columns)]).sort("pair_id")


def calibrate(lake: Lake, judgments: pl.DataFrame, method: str) -> pl.DataFrame:
    """The judgments as a policy should read them: the mean probability that a calibrated annotator
    gives a pair, over its orders and samples, through the fit of its newest card, in each of its
    rows; `p_raw` keeps what each row says. What is stored stays raw.

    Raises:
        NotCalibrated: a judge of these has no such fit.
    """
    cards = read_cards(lake)
    fits = {
        name: calibration_from_json(json.dumps(card["calibration"][method]))
        for name, card in cards.items()
        if method in card.get("calibration", {})
    }
    is_judged = (pl.col("kind") == "llm") & pl.col("p_a").is_not_null()
    overall = is_judged & pl.col("criterion").is_null()
    bare = sorted(set(judgments.filter(overall)["annotator"]) - fits.keys())
    if bare:
        raise NotCalibrated(
            f"label.calibration is {method}, and {bare[0]} has no fit on gold: measure it with "
            f"`assay reliability` ({LEAST_TO_CALIBRATE} pairs of gold in train are needed, and a "
            "prompt gets its split by `assay dedup RECIPE`), or leave label.calibration out"
        )
    who = ["annotator", "response_a", "response_b"]
    means = average_opinions(judgments.filter(overall), who)
    parts = [
        rows.with_columns(calibrated=pl.Series(fits[str(name)].apply(rows["p_a"].to_numpy())))
        for (name,), rows in means.group_by("annotator", maintain_order=True)
    ]
    if not parts:
        return judgments
    fitted = pl.concat(parts).select(*who, "calibrated")
    read = pl.when(overall & pl.col("calibrated").is_not_null()).then("calibrated")
    return (
        judgments.join(fitted, on=who, how="left", maintain_order="left")
        .with_columns(p_a=read.otherwise("p_a"))
        .drop("calibrated")
    )


def label_pairs(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    labels: pl.DataFrame,
    tastes: Tastes | None = None,
    read: PoolRead | None = None,
) -> StageSummary:
    """Record what `apply_policy` found: each undecided pair as a `to_review` decision, and each
    that people discarded, or that a reading of the pool is not sure of, as a `drop`; a label turned
    round as a `flip`. Where prototypes part, it says which and how surely."""
    spec = recipe.label
    scope = make_label_scope(recipe, labels)
    undecided = labels.filter(~pl.col("status").is_in(["labelled", "dropped"]))
    gone = pl.col("status") == "discarded"
    who = spec.prototype or f"the policy {spec.policy}"
    cannot = pl.lit(f"{who} cannot decide: ") + pl.col("reason")

    def compute() -> Decided:
        empty = {"pair_id": pl.String, "why": pl.String, "torn": pl.Float64}
        said = tastes.said.select(empty.keys()) if tastes else pl.DataFrame(schema=empty)
        decisions = undecided.join(said, on="pair_id", how="left").select(
            item_id="pair_id",
            item_kind=pl.lit("pair"),
            action=pl.when(gone).then(pl.lit("drop")).otherwise(pl.lit("to_review")),
            rule=pl.when(gone).then(pl.lit("discarded_by_people")).otherwise("reason"),
            reason=pl.when(gone)
            .then("reason")
            .when(pl.col("reason") == PARTED)
            .then("why")
            .otherwise(cannot),
            value=pl.when(pl.col("reason") == PARTED).then("torn").otherwise("probability"),
            threshold=pl.lit(spec.threshold),
        )
        if read is not None:
            decisions = pl.concat(
                [decisions, find_decisions(labels, read, spec.threshold)], how="vertical_relaxed"
            )
        counts = labels.drop_nulls("decided_by").group_by("decided_by").len().sort("decided_by")
        return Decided(decisions, extra={"decided_by": dict(counts.iter_rows())})

    return decide_stage(lake, run, stage=STAGE, scope=scope, rows_in=len(labels), compute=compute)


def make_label_scope(recipe: Recipe, labels: pl.DataFrame) -> str:
    """The scope of a labelling: the policy and every pair with what was said of it."""
    spec = recipe.label
    said = labels.select(
        "pair_id", pl.coalesce("decided_by", "reason"), pl.col("p_a").fill_null(-1.0).round(12)
    )
    inputs = [f"{pair_id}:{why}:{p_a!r}" for pair_id, why, p_a in said.iter_rows()]
    config: list[Any] = [spec.policy, spec.threshold]
    config += [spec.prototype] if spec.prototype else []
    if recipe.loop and spec.policy == LOOP:
        config += [recipe.loop.keep, recipe.loop.flip_policy]
    return make_scope(STAGE, RULES, config, inputs)
