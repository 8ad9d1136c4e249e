"""Signals as a stage: opinions of the recipe's responses that cost no judge's prompt.

`goal` and `implicit` score a response by itself, so they do the responses that have no score yet.
The others look at all that a recipe has of a prompt, and are computed once for what they look at:
their scope in `runs`. Where that grows (another rollout, a verdict), they say what they say then,
in further rows; of several on one response by one annotator the latest counts.

What a signal says is of the kind `reward_model` and of single responses, or has a criterion: no
label policy counts it as an opinion on a pair.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from annotators.signals.co_reward import (
    find_views,
    label_rollouts,
    label_views,
    make_label_rows,
    read_answer,
)
from annotators.signals.goal_baseline import make_goal_rows, name_goal, score_texts
from annotators.signals.lengths import make_cosine_rows, make_linear_rows, make_repetition_rows
from annotators.signals.policy_pairs import make_policy_rows, pair_policies
from annotators.signals.rows import KIND
from annotators.talk import Row
from annotators.verifiers import VERSION_MARK
from pipelines.label.implicit import STAGE, count_invalid, find_unscored, score_implicit
from pipelines.label.pairs import CORRECT
from pipelines.label.verifying import CRITERION
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import find_summary, make_scope, record_run
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.opinions import SignalSpec
from schemas.recipe import Recipe

RULES = 1
TEXTS_A_COMMIT = 1_000
Made = tuple[Sequence[Row], Mapping[str, int]]
"""Rows of `judgments`, and how much of what was looked at gave none, by reason."""


@dataclass(frozen=True)
class Ground:
    """What a signal stands on: the lake, this run, the recipe, and what it sees of the lake (see
    `pipelines.view.View.prompts` and `rollouts`)."""

    lake: Lake
    run: Run
    recipe: Recipe
    prompts: pl.DataFrame
    rollouts: pl.DataFrame

    @property
    def responses(self) -> pl.DataFrame:
        """prompt_id, response_id, content: each response once, in the order of their ids."""
        columns = ("prompt_id", "response_id", "content")
        return self.rollouts.select(columns).unique("response_id").sort(columns[:2])


def run_signals(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    prompts: pl.DataFrame,
    rollouts: pl.DataFrame,
    limit: int | None = None,
) -> StageSummary:
    """Compute what the lake lacks of the recipe's signals.

    Args:
        limit: the most model calls to make now; only `implicit` makes any.

    Returns:
        Counts of scores and pairs: what could not be scored is kept as a row that is not valid
        (`extra["invalid"]`), what gave no row at all is dropped with its reason.
        `extra["made"]` counts the rows that were worked out now.

    Raises:
        annotators.signals.rows.SignalUnusable: a setting that no score can come from.
        engines.embedder.EmbedderMissing, engines.chat.ServerUnreachable: see there.
    """
    ground = Ground(lake, run, recipe, prompts, rollouts)
    parts = []
    for spec in dict.fromkeys(recipe.signals):
        if spec.method == "implicit":
            part = score_implicit(lake, run, recipe, spec, prompts, ground.responses, limit)
            limit = None if limit is None else limit - part.extra["calls"]
        else:
            part = SIGNALS[spec.method](ground, spec)
        parts.append(part)
    total = add_summaries(STAGE, parts)
    made = sum(part.extra["made"] for part in parts)
    return replace(total, extra={**total.extra, "made": made})


def _run_goal(ground: Ground, spec: SignalSpec) -> StageSummary:
    started = time.monotonic()
    goal, baseline = spec.goal or "", spec.baseline or ""
    annotator = name_goal(goal, baseline, alpha=spec.alpha, model=spec.embedder)
    wanted, made = ground.responses, 0
    with ground.lake.lease(STAGE, ground.run):
        todo = find_unscored(ground.lake, annotator, wanted, spec.criterion)
        for part in todo.iter_slices(TEXTS_A_COMMIT):
            scores = score_texts(
                part["content"].to_list(), goal, baseline, alpha=spec.alpha, model=spec.embedder
            )
            rows = make_goal_rows(
                part, scores, goal, baseline, alpha=spec.alpha, model=spec.embedder,
                criterion=spec.criterion,
            )  # fmt: skip
            tables = {"annotators": _describe(spec, rows), "judgments": rows}
            ground.lake.append(tables, run=ground.run, stage=STAGE, message=f"{len(rows)} scores")
            made += len(rows)
            ground.run.progress(STAGE, made, len(todo))
        invalid = count_invalid(ground.lake, annotator, wanted, spec.criterion)
    return StageSummary(
        STAGE,
        rows_in=len(wanted),
        kept=len(wanted),
        seconds=time.monotonic() - started,
        extra={"made": made, "invalid": invalid},
    )


def _run_lengths(ground: Ground, spec: SignalSpec) -> StageSummary:
    responses = ground.responses
    if spec.shape == "repetition":
        words = spec.words or 1
        return _run_once(
            ground, spec, responses["response_id"],
            lambda: (make_repetition_rows(responses, n=words), {}),
        )  # fmt: skip
    checked = ground.prompts.filter(pl.col("verifier").is_not_null())
    measured = (
        responses.join(checked, on="prompt_id", how="semi", maintain_order="left")
        .join(_find_verdicts(ground.lake, responses), on="response_id", how="left")
        .select(
            "prompt_id",
            "response_id",
            length=pl.col("content").str.len_chars().cast(pl.Int64),
            right=pl.col("score") >= CORRECT,
        )
        .sort("prompt_id", "response_id")
    )
    limit = spec.limit or 1

    def make() -> Made:
        if spec.shape == "linear":
            return make_linear_rows(measured), {}
        return make_cosine_rows(measured, limit=limit), {}

    said = measured.select(
        pl.format("{}:{}", "response_id", pl.col("right").cast(pl.String).fill_null("unknown"))
    )
    return _run_once(ground, spec, said.to_series(), make)


def _find_verdicts(lake: Lake, responses: pl.DataFrame) -> pl.DataFrame:
    """response_id, score of the responses that the present version of the verifiers has scored."""
    return lake.query(
        "SELECT response_a AS response_id, max(score) AS score FROM judgments "
        "SEMI JOIN wanted ON judgments.response_a = wanted.response_id "
        "WHERE kind = 'verifier' AND criterion = ? AND ends_with(annotator, ?) "
        "GROUP BY response_a",
        [CRITERION, VERSION_MARK],
        wanted=responses.select("response_id"),
    )


def _run_co_reward(ground: Ground, spec: SignalSpec) -> StageSummary:
    children = ground.prompts.filter(pl.col("parent_id").is_not_null())
    views, left_out = find_views(ground.prompts)
    if views.is_empty():
        ground.run.tell("co_reward: no prompt of this recipe has a paraphrase that can be used")
    votes = ground.rollouts.filter(
        pl.col("prompt_id").is_in([*views["prompt_id"], *views["paraphrase_id"]]),
        pl.col("policy") != "reference",
    ).sort("rollout_id")
    inputs = [*children.select(pl.format("{}<{}", "prompt_id", "parent_id")).to_series(),
              *votes["rollout_id"]]  # fmt: skip

    def make() -> Made:
        answers = votes.select(
            "prompt_id",
            "response_id",
            answer=pl.Series([read_answer(text) for text in votes["content"]], dtype=pl.String),
        )
        labelled = label_rollouts(answers, label_views(answers, views, tau=spec.tau))
        return make_label_rows(labelled, tau=spec.tau), left_out

    return _run_once(ground, spec, inputs, make)


def _run_policy_pairs(ground: Ground, spec: SignalSpec) -> StageSummary:
    policy = pl.col("policy")
    unknown = policy.str.starts_with("import:") & ~policy.str.contains("/", literal=True)
    written = ground.rollouts.filter((policy != "reference") & ~unknown)

    def make() -> Made:
        found = pair_policies(written, tolerance=spec.tolerance, seed=ground.recipe.seed)
        reasons = found.left_out.group_by("reason").len().sort("reason")
        return make_policy_rows(found.pairs), dict(reasons.iter_rows())

    said = written.select(pl.format("{}:{}", "response_id", "policy")).unique().to_series()
    return _run_once(ground, spec, said, make)


SIGNALS: dict[str, Callable[[Ground, SignalSpec], StageSummary]] = {
    "goal": _run_goal,
    "lengths": _run_lengths,
    "co_reward": _run_co_reward,
    "policy_pairs": _run_policy_pairs,
}


def _run_once(
    ground: Ground, spec: SignalSpec, inputs: Iterable[str], make: Callable[[], Made]
) -> StageSummary:
    """Write the rows that `make` gives, unless these settings have been at these inputs before."""
    lake, run = ground.lake, ground.run
    config = [spec.describe(), ground.recipe.seed]
    scope = make_scope(STAGE, RULES, config, inputs)
    with lake.lease(STAGE, run):
        stored = find_summary(lake, STAGE, scope)
        if stored is not None:
            return replace(stored, seconds=0.0, extra={**stored.extra, "made": 0})
        started = time.monotonic()
        rows, left_out = make()
        summary = StageSummary(
            STAGE,
            rows_in=len(rows) + sum(left_out.values()),
            kept=len(rows),
            dropped={f"{spec.method}:{reason}": n for reason, n in left_out.items()},
            seconds=time.monotonic() - started,
            scope=scope,
            extra={"made": len(rows), "invalid": sum(not row["valid"] for row in rows)},
        )
        tables = {"annotators": _describe(spec, rows), "judgments": rows}
        record_run(lake, run, summary, {name: part for name, part in tables.items() if part})
    return summary


def _describe(spec: SignalSpec, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Who speaks in these rows, with the settings of its method, as a row of `annotators`."""
    text = json.dumps(spec.describe(), ensure_ascii=False, sort_keys=True)
    names = dict.fromkeys(row["annotator"] for row in rows)
    return [
        {"annotator": name, "snapshot": 0, "kind": KIND, "specification": text} for name in names
    ]
