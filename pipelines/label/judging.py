"""Pairwise judging as a stage: every judge of the recipe on every pair no verifier decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from annotators.pairwise import ORDERS, PairwiseJudge, load_template, read_verdict, render_prompt
from engines.assets import find_asset
from engines.chat import ChatResult
from engines.models import open_endpoint, resolve_model
from pipelines.lake.calls import Call, run_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from pipelines.make.rollouts import add_summaries
from schemas.ids import make_judgment_id
from schemas.recipe import Recipe

STAGE = "judge"


def load_judges(recipe: Recipe, base: Path | None) -> list[PairwiseJudge]:
    """The judges of a recipe with their templates; one that it lists twice, by whatever names, is
    one judge.

    Raises:
        engines.assets.AssetMissing, annotators.pairwise.TemplateBroken
    """
    judges = [
        PairwiseJudge(
            resolve_model(recipe.models[spec.model]),
            load_template(find_asset(spec.template, base)),
        )
        for spec in recipe.judges
    ]
    return list({judge.annotator: judge for judge in judges}.values())


def make_judge_calls(
    judge: PairwiseJudge, prompts: pl.DataFrame, pairs: pl.DataFrame, rollouts: pl.DataFrame
) -> list[Call]:
    """Two calls, one an order, for every pair."""
    messages = dict(prompts.select("prompt_id", "messages").iter_rows())
    contents = dict(rollouts.select("response_id", "content").iter_rows())
    calls = []
    columns = ("pair_id", "prompt_id", "response_a", "response_b")
    for pair_id, prompt_id, a, b in pairs.select(columns).iter_rows():
        prompt = render_prompt(messages[prompt_id])
        for order in ORDERS:
            request = judge.make_request(prompt, contents[a], contents[b], order)
            calls.append(Call(request, (pair_id, a, b, order), prompt_id))
    return calls


def judge_pairs(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    base: Path | None,
    prompts: pl.DataFrame,
    pairs: pl.DataFrame,
    rollouts: pl.DataFrame,
    limit: int | None = None,
) -> StageSummary:
    """Ask every judge about every pair without a verifier's word, in both orders.

    Which pairs are judged does not depend on the label policy, so that changing the policy costs
    no call. `extra["invalid"]` counts the answers that said neither A nor B.
    """
    todo = pairs.filter(pl.col("basis") != "verifier")
    judges = load_judges(recipe, base)
    who = [_describe(judge) for judge in judges]
    lake.append({"annotators": who}, run=run, stage=STAGE, message="who judges")
    summaries = []
    for judge in judges:
        summary = run_calls(
            lake,
            run,
            stage=STAGE,
            start=lambda judge=judge: open_endpoint(judge.model, run.tell),  # type: ignore[misc]
            wanted=make_judge_calls(judge, prompts, todo, rollouts),
            done_table="judgments",
            to_rows=_make_to_rows(judge),
            limit=limit,
        )
        summaries.append(summary)
        if limit is not None:
            limit -= summary.extra["calls"]
    return add_summaries(STAGE, summaries)


def _describe(judge: PairwiseJudge) -> dict[str, Any]:
    specification = json.dumps(judge.specification, ensure_ascii=False, sort_keys=True)
    return {
        "annotator": judge.annotator,
        "snapshot": 0,
        "kind": "llm",
        "specification": specification,
    }


def _make_to_rows(
    judge: PairwiseJudge,
) -> Callable[[Call, ChatResult], dict[str, list[dict[str, Any]]]]:
    def to_rows(call: Call, result: ChatResult) -> dict[str, list[dict[str, Any]]]:
        pair_id, response_a, response_b, order = call.context
        verdict = read_verdict(result, order)
        row = {
            "judgment_id": make_judgment_id(
                judge.annotator,
                pair_id,
                criterion=None,
                order=order,
                sample_index=0,
                origin=result.request_id,
            ),
            "annotator": judge.annotator,
            "kind": "llm",
            "prompt_id": call.prompt_id,
            "response_a": response_a,
            "response_b": response_b,
            "p_a": verdict.p_a,
            "tie": False,
            "valid": verdict.p_a is not None,
            "reason": verdict.reason,
            "order": order,
            "sample_index": 0,
            "raw": result.text,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "seconds": result.seconds,
            "request_id": result.request_id,
        }
        return {"judgments": [row]}

    return to_rows
