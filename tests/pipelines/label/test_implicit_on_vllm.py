"""The implicit reward through a real vLLM and the lake."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from annotators.signals.implicit_reward import make_logprob_requests, read_logprobs
from engines.chat import ChatResult, Endpoint, stream_results
from engines.models import ResolvedModel, resolve_model
from pipelines.label.signalling import run_signals
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from tests.conftest import make_recipe
from tests.pipelines.label.test_signalling import IMPLICIT, make_prompts, make_rollouts

CONTENT = "A short walk, then a book."


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("vllm")
def test_rewards_of_the_embedded_model_are_paid_for_once(
    tmp_path: Path, model: ResolvedModel, endpoint: Endpoint
) -> None:
    # the same weights under two revisions: every reward is 0, and every call is made twice
    models = {
        name: {"model": model.name, "url": endpoint.url, "revision": name} for name in ("t", "r")
    }
    recipe = make_recipe(
        models={"m": {"model": "unused"}, **models}, signals=[{**IMPLICIT, "scale": 1.5}]
    )
    prompts = make_prompts(p="How should I spend the evening?", q="Name a colour.")
    rollouts = make_rollouts(
        prompts, ("p", "m@1", CONTENT), ("p", "m@1", "Übung 🎉 macht"), ("q", "m@1", "Red")
    )

    async def ask() -> dict[str, ChatResult]:
        found = stream_results(endpoint, trio)
        return {result.request_id: result async for result in found}

    with open_lake(tmp_path / "lake") as lake:
        first = run_signals(lake, new_run(recipe), recipe, prompts, rollouts)
        rows = lake.query("SELECT * FROM judgments JOIN texts ON response_a = response_id",
                          texts=rollouts.select("response_id", "content"))  # fmt: skip
        print(f"\n{rows['valid'].sum()} of {len(rows)} responses have a reward, "
              f"{first.extra['calls']} calls")  # fmt: skip
        assert (first.kept, first.extra["invalid"]) == (3, 0)
        assert rows["score"].to_list() == pytest.approx([0.0] * 3, abs=1e-2)
        trio = make_logprob_requests(
            resolve_model(recipe.models["t"]), prompts["messages"][0].to_list(), CONTENT
        )
        answers = asyncio.run(ask())
        own = read_logprobs([answers[one.request_id] for one in trio])
        told = rows.filter(content=CONTENT).row(0, named=True)
        assert len(json.loads(told["detail"])["per_token"]) == len(own.ids) > 3
        snapshot = lake.snapshot()
        second = run_signals(lake, new_run(recipe), recipe, prompts, rollouts)
        assert (second.kept, second.extra["calls"], second.extra["made"]) == (3, 0, 0)
        assert lake.snapshot() == snapshot
