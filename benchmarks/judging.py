"""What judging costs on the embedded server: shared prefixes, pairs an hour, tokens a label.

`python -m benchmarks.judging`

1. Both orders of a pair behind one guideline, and the criteria of a rubric at once and one by one:
   prompt tokens computed against sent, by the server's own metrics, for one token of each first
   answer, on a server that has seen none of it.
2. Every method on a few pairs: pairs an hour, tokens a label, the share of prompt tokens that the
   prefix cache had, the share of answers that could be read. A ranking's pairs are those of its
   group that it compared. The embedded model's verdicts mean nothing; its speed does.
3. The judge stage (answers and judgments committed to a lake) against a bare loop over the same
   requests, alternating, the server's cache warm for both.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from math import comb
from typing import Any

import polars as pl

from annotators.pairwise import PairwiseJudge
from annotators.ranking.judge import GroupRanker
from annotators.rubrics.judge import RubricJudge, load_rubric_templates
from annotators.rubrics.rubric import EVERY, Rubric, load_rubric
from annotators.talk import Conversation, Item, Judge
from engines.assets import find_asset
from engines.chat import ChatRequest, Endpoint, stream_results
from engines.models import open_endpoint, resolve_model
from engines.services import release_services
from pipelines.label.judges import load_judges
from pipelines.label.judging import make_groups
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_prompt_id, make_response_id
from schemas.recipe import ModelSpec, Recipe, parse_recipe

PAIRS = 64
CRITERIA_PAIRS = 16
RUBRIC = "rubrics/general.yaml"
FEW = 6
GROUP = 12  # responses
ROUNDS = 3
METHODS: list[dict[str, Any]] = [
    {"method": "pairwise"},
    {"method": "pairwise", "mode": "vote", "k": 2, "temperature": 0.7},
    {"method": "pairwise", "mode": "reason", "max_tokens": 64},
    {"method": "yes_prob"},
    {"method": "generative", "k": 2, "max_tokens": 384},
    {"method": "rubric", "adapt": False, "max_tokens": 384},
    {"method": "rubric", "max_tokens": 384},
    {"method": "ranking"},
    {"method": "policy", "max_tokens": 48},
    {"method": "failures"},
]


def main() -> None:
    """Print the figures, the machine and the versions."""
    names = ("aiohttp", "duckdb", "polars")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    try:
        endpoint = open_endpoint(resolve_model(ModelSpec()), print)
        measure_prefixes(endpoint)
        measure_methods(endpoint)
        compare_with_a_loop(endpoint)
    finally:
        release_services()


def measure_prefixes(endpoint: Endpoint) -> None:
    """Prompt tokens computed against sent, for the first questions of judges in both orders."""
    (verdict,) = load_judges(make_recipe({"method": "pairwise"}), None)
    (whole,) = load_judges(
        make_recipe({"method": "rubric", "rubric": RUBRIC, "adapt": False}), None
    )
    criteria = load_rubric(find_asset(RUBRIC)).asked
    alone: list[Judge] = [
        RubricJudge(whole.model, load_rubric_templates(),
                    (Rubric("criterion", 1, (EVERY,), (criterion,)),), adapt=False)
        for criterion in criteria
    ]  # fmt: skip
    ways: dict[str, tuple[int, list[Judge]]] = {
        "one-letter verdicts (at least 40 %)": (PAIRS, [verdict]),
        f"{len(criteria)} criteria of a rubric at once": (CRITERIA_PAIRS, [whole]),
        f"{len(criteria)} criteria of a rubric one by one": (CRITERIA_PAIRS, alone),
    }
    print("prefixes, one token of each answer, both orders:")
    print(f"  {'':<40}{'pairs':>6}{'sent':>8}{'computed':>9}{'fewer':>7}{'seconds':>8}")
    for name, (count, judges) in ways.items():
        items = make_items(count, name)
        asked = [r for judge in judges for item in items for r in Conversation(judge, item).waiting]
        before, started = read_metrics(endpoint), time.monotonic()
        sent = asyncio.run(ask_one_token(asked, endpoint))
        seconds, after = time.monotonic() - started, read_metrics(endpoint)
        computed = sent - (after["cached"] - before["cached"])
        print(f"  {name:<40}{count:>6}{sent:>8}{computed:>9.0f}{1 - computed / sent:>7.1%}"
              f"{seconds:>8.0f}")  # fmt: skip


async def ask_one_token(requests: Sequence[ChatRequest], endpoint: Endpoint) -> int:
    """Have each prompt read and no more than a token written; returns the tokens of the prompts."""
    short = [replace(r, sampling={**r.sampling, "max_tokens": 1}) for r in requests]
    return sum([result.tokens_in or 0 async for result in stream_results(endpoint, short)])


def measure_methods(endpoint: Endpoint) -> None:
    """Pairs an hour, tokens a label and the share of rows that could be read, by method."""
    print(f"by method, {FEW} pairs each, a ranking of {GROUP} responses:")
    print(f"  {'method':<28}{'pairs/hour':>11}{'calls/pair':>11}{'tokens/pair':>12}"
          f"{'cached':>8}{'read':>7}")  # fmt: skip
    for place, spec in enumerate(METHODS):
        (judge,) = load_judges(make_recipe(spec), None)
        is_ranking = isinstance(judge, GroupRanker)
        items = make_items(GROUP // 2 if is_ranking else FEW, f"method {place}")
        asked = make_groups(join_groups(items)) if is_ranking else items
        before, started = read_metrics(endpoint), time.monotonic()
        rows, calls = asyncio.run(count_calls(judge, asked, endpoint))
        hours, after = (time.monotonic() - started) / 3600, read_metrics(endpoint)
        paid = [row for row in rows if not is_ranking or row["annotator"] != judge.annotator]
        pairs = len({(r["response_a"], r["response_b"]) for r in paid}) if is_ranking else FEW
        sent = sum(row["tokens_in"] for row in paid)
        tokens = sent + sum(row["tokens_out"] for row in paid)
        cached = (after["cached"] - before["cached"]) / sent
        read = sum(row["valid"] for row in rows) / len(rows)
        name = " ".join(str(value) for value in spec.values() if not isinstance(value, float))
        print(f"  {name:<28}{pairs / hours:>11.0f}{calls / pairs:>11.1f}{tokens / pairs:>12.0f}"
              f"{cached:>8.0%}{read:>7.0%}")  # fmt: skip
        if is_ranking:
            print(f"    it compared {pairs} of the {comb(GROUP, 2)} pairs of its group: "
                  f"{tokens / comb(GROUP, 2):.0f} tokens for each of those")  # fmt: skip


def compare_with_a_loop(endpoint: Endpoint) -> None:
    """Verdicts per second of the stage against a bare loop over the same requests."""
    (judge,) = load_judges(make_recipe({"method": "pairwise"}), None)
    assert isinstance(judge, PairwiseJudge)
    items = make_items(PAIRS, "loop")
    asyncio.run(ask_bare(judge, items, endpoint))  # warm the server's cache
    bare, ours = [], []
    for _ in range(ROUNDS):
        started = time.monotonic()
        asyncio.run(ask_bare(judge, items, endpoint))
        bare.append(2 * PAIRS / (time.monotonic() - started))
        with tempfile.TemporaryDirectory() as place, open_lake(place) as lake:
            started = time.monotonic()
            summary = hold_talks(lake, new_run(), stage="judge", judge=judge, items=items)
            ours.append(summary.kept / (time.monotonic() - started))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"judge stage into a lake {statistics.median(ours):.1f} verdicts/s, bare loop "
          f"{statistics.median(bare):.1f}: ratio {ratio:.3f} (at least 0.95)")  # fmt: skip


async def ask_bare(judge: Judge, items: list[Item], endpoint: Endpoint) -> None:
    """The requests of the first round, through the official client, nothing kept."""
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(endpoint.concurrency)
    requests = [r for item in items for r in Conversation(judge, item).waiting]
    async with AsyncOpenAI(base_url=endpoint.url, api_key="none") as client:

        async def ask(request: ChatRequest) -> None:
            async with gate:
                await client.chat.completions.create(
                    model=endpoint.model,
                    messages=list(request.messages),
                    logprobs=True,
                    top_logprobs=request.top_logprobs,
                    extra_body={"structured_outputs": {"choice": list(request.choices or ())}},
                    **request.sampling,
                )

        await asyncio.gather(*(ask(request) for request in requests))


async def count_calls(
    judge: Judge, items: list[Item], endpoint: Endpoint
) -> tuple[list[dict[str, Any]], int]:
    """As `annotators.talk.judge_items`, and how many calls it took."""
    talks = [Conversation(judge, item) for item in items]
    calls = 0
    while waiting := [talk for talk in talks if talk.rows is None]:
        asked = {r.request_id: r for talk in waiting for r in talk.waiting}
        calls += len(asked)
        answers = {r.request_id: r async for r in stream_results(endpoint, asked.values())}
        for talk in waiting:
            talk.feed(answers)
    return [row for talk in talks for row in talk.rows or ()], calls


def read_metrics(endpoint: Endpoint) -> dict[str, float]:
    """The server's counts of prompt tokens and of those it had computed before."""
    url = endpoint.url.removesuffix("/v1") + "/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = {"prompt": 0.0, "cached": 0.0}
    for line in lines:
        for name, metric in (("prompt", "prompt_tokens_total"),
                             ("cached", "prompt_tokens_cached_total")):  # fmt: skip
            if line.startswith(f"vllm:{metric}"):
                values[name] += float(line.rsplit(" ", 1)[1])
    return values


def make_items(n: int, salt: str) -> list[Item]:
    """Pairs that no two share: the shipped seed prompts, each with two short made-up answers."""
    seeds = pl.read_ndjson(find_asset("seeds/open.jsonl"))["prompt"].to_list()
    items = []
    for i in range(n):
        prompt = f"{seeds[i % len(seeds)]} ({salt}, {i})"
        messages = [{"role": "user", "content": prompt}]
        prompt_id = make_prompt_id(messages)
        near, far = seeds[(i + 7) % len(seeds)], seeds[(i + 31) % len(seeds)]
        texts = (f"First think of this: {near} Then decide.", f"It depends. {far} That is all.")
        by_id = sorted((make_response_id(prompt_id, text), text) for text in texts)
        ids, contents = zip(*by_id, strict=True)
        items.append(Item(prompt_id, messages, ids, contents, "planning"))
    return items


def join_groups(items: list[Item]) -> list[Item]:
    """The same pairs under one prompt, so that their responses are one group."""
    first = items[0]
    return [
        Item(first.prompt_id, first.messages, item.response_ids, item.contents, first.category)
        for item in items
    ]


def make_recipe(judge: dict[str, Any]) -> Recipe:
    """A recipe with one judge."""
    prompts = {"arithmetic": {"count": 1}}
    return parse_recipe({"name": "bench", "prompts": prompts, "judges": [judge]})


if __name__ == "__main__":
    main()
