"""Rollouts: n samples per prompt from every policy of the recipe, and the reference answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl

from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel, open_endpoint, resolve_model
from pipelines.lake.calls import Call, run_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.ids import make_id, make_request_id, make_response_id, make_seed
from schemas.recipe import Recipe, RolloutSpec

STAGE = "rollouts"
REFERENCE = "reference"

Rows = dict[str, list[dict[str, Any]]]


def make_rollout_calls(recipe: Recipe, prompts: pl.DataFrame) -> list[list[Call]]:
    """The calls of each rollout specification, in the order of the recipe.

    Each sample is a request of its own with its own seed, so that raising `n` pays only for the
    new samples.
    """
    imported = [source.name for source in recipe.prompts.imports]
    asked = (
        prompts.filter(~pl.col("source").is_in(imported)) if recipe.rollouts else prompts.clear()
    )
    rows = asked.select("prompt_id", "messages").rows()
    return [
        [
            _make_call(recipe, spec, model, prompt_id, messages, index)
            for prompt_id, messages in rows
            for index in range(spec.n)
        ]
        for spec, model in (
            (spec, resolve_model(recipe.models[spec.model])) for spec in recipe.rollouts
        )
    ]


def roll_out(
    lake: Lake, run: Run, recipe: Recipe, prompts: pl.DataFrame, limit: int | None = None
) -> StageSummary:
    """Make the rollouts that the lake does not have.

    Args:
        prompts: rows of `prompts`. Those of imported pools keep the responses they came with.
        limit: the most calls to make now.
    """
    references = make_reference_rows(prompts)
    if references["rollouts"]:
        lake.append(references, run=run, stage=STAGE, message="reference answers")
    summaries = []
    for spec, calls in zip(recipe.rollouts, make_rollout_calls(recipe, prompts), strict=True):
        model = resolve_model(recipe.models[spec.model])
        summary = run_calls(
            lake,
            run,
            stage=STAGE,
            start=lambda model=model: open_endpoint(model, run.tell),  # type: ignore[misc]
            wanted=calls,
            done_table="rollouts",
            to_rows=_make_to_rows(model),
            limit=limit,
        )
        summaries.append(summary)
        if limit is not None:
            limit -= summary.extra["calls"]
    return add_summaries(STAGE, summaries)


def find_rollouts(lake: Lake, recipe: Recipe, prompts: pl.DataFrame) -> pl.DataFrame:
    """The recipe's rollouts on `prompts`, joined with the response's `content`.

    Those of the recipe's own calls, the reference answers, and the responses of imported pools;
    other recipes' rollouts on the same prompts are left out. Sorted by rollout_id.
    """
    made = [
        call.request.request_id for calls in make_rollout_calls(recipe, prompts) for call in calls
    ]
    made += [row["request_id"] for row in make_reference_rows(prompts)["rollouts"]]
    wanted = pl.DataFrame({"request_id": made}, schema={"request_id": pl.String})
    policies = [f"import:{source.name}" for source in recipe.prompts.imports]
    found = lake.query(
        "SELECT r.* FROM rollouts r SEMI JOIN kept ON kept.prompt_id = r.prompt_id "
        "WHERE r.request_id IN (SELECT request_id FROM wanted) "
        "OR list_contains(?, r.policy) OR list_contains(?, split_part(r.policy, '/', 1))",
        [policies, policies],
        kept=prompts.select("prompt_id"),
        wanted=wanted,
    )
    contents = lake.query(
        "SELECT response_id, content FROM responses SEMI JOIN found USING (response_id)",
        found=found.select("response_id").unique(),
    )
    # only places are joined, so that neither the texts nor the rows are copied
    places = contents.select("response_id").with_row_index("place")
    found = found.sort("rollout_id")
    place = found.select("response_id").join(
        places, on="response_id", how="left", maintain_order="left"
    )["place"]
    found = found.with_columns(content=contents["content"].gather(place))
    return found.filter(place.is_not_null()) if place.null_count() else found


def make_reference_rows(prompts: pl.DataFrame) -> Rows:
    """The reference answers as responses and as rollouts of policy `reference`."""
    rows: Rows = {"responses": [], "rollouts": []}
    known = prompts.filter(pl.col("answer").is_not_null()).select("prompt_id", "answer")
    for prompt_id, answer in known.iter_rows():
        response_id = make_response_id(prompt_id, answer)
        request_id = make_id("reference", prompt_id, answer)
        rows["responses"].append(
            {"response_id": response_id, "prompt_id": prompt_id, "content": answer}
        )
        rows["rollouts"].append(
            {
                "rollout_id": make_id("rollout", request_id),
                "request_id": request_id,
                "prompt_id": prompt_id,
                "response_id": response_id,
                "policy": REFERENCE,
                "sample_index": 0,
            }
        )
    return rows


def _make_call(
    recipe: Recipe,
    spec: RolloutSpec,
    model: ResolvedModel,
    prompt_id: str,
    messages: list[dict[str, str]],
    index: int,
) -> Call:
    system = [{"role": "system", "content": spec.system}] if spec.system else []
    conversation = [*system, *messages]
    sampling = {
        "temperature": spec.temperature,
        "top_p": spec.top_p,
        "max_tokens": spec.max_tokens,
        "seed": make_seed("rollout", recipe.seed, prompt_id, index),
    }
    request_id = make_request_id(
        model=model.name,
        revision=model.revision,
        messages=conversation,
        sampling=sampling,
        sample_index=index,
    )
    return Call(ChatRequest(request_id, conversation, sampling), index, prompt_id)


def _make_to_rows(model: ResolvedModel) -> Callable[[Call, ChatResult], Rows]:
    def to_rows(call: Call, result: ChatResult) -> Rows:
        assert call.prompt_id is not None
        response_id = make_response_id(call.prompt_id, result.text)
        rollout = {
            "rollout_id": make_id("rollout", result.request_id),
            "request_id": result.request_id,
            "prompt_id": call.prompt_id,
            "response_id": response_id,
            "policy": model.policy,
            "sampler": json.dumps(call.request.sampling, sort_keys=True),
            "seed": call.request.sampling["seed"],
            "sample_index": call.context,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "finish_reason": result.finish_reason,
            "logprob": result.logprob,
            "seconds": result.seconds,
        }
        response = {
            "response_id": response_id,
            "prompt_id": call.prompt_id,
            "content": result.text,
        }
        return {"responses": [response], "rollouts": [rollout]}

    return to_rows
