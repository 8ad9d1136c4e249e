"""What orchestration costs: Assay against a bare client loop, side by side in one run.

`python -m benchmarks.orchestration [--vllm]`

Each measurement is a process of its own, so that its CPU seconds are its own; the two alternate,
and the median of the rounds counts. The stub answers in 5 ms with 64 requests in flight. With
`--vllm` the embedded model's tokens per second are compared too: there a round takes a quarter of a
minute, in which the speed of a shared machine changes by a third, so that the fastest round of each
side counts (whatever else the machine does can only slow a round down) and every round is printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROMPTS = 2_000
IN_FLIGHT = 64
ROUNDS = 3
VLLM_ROUNDS = 5
VLLM_PROMPTS = 96
VLLM_TOKENS = 48


def main() -> None:
    """Print the ratios, the machine and the versions."""
    if len(sys.argv) > 2:
        print(json.dumps(SIDES[sys.argv[1]](*sys.argv[2:])))
        return
    names = ("aiohttp", "duckdb", "openai", "polars", "prefect")
    machine = platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    compare_on_stub()
    time_commands()
    if "--vllm" in sys.argv:
        compare_on_vllm()


def compare_on_stub() -> None:
    """Requests per second and CPU seconds: rows committed to a lake against a bare loop."""
    from tests.stub_server import run_stub

    rounds: dict[str, list[dict[str, float]]] = {"bare": [], "assay": []}
    with run_stub(delay_ms=5) as stub:
        for _ in range(ROUNDS):
            for side, found in rounds.items():
                found.append(measure(side, stub.url, "stub", str(PROMPTS), "32"))
    bare, ours = (summarise(rounds[side]) for side in ("bare", "assay"))
    print(f"stub, {PROMPTS} prompts, 5 ms, {IN_FLIGHT} in flight, median of {ROUNDS} rounds:")
    for name, row in (("bare AsyncOpenAI loop", bare), ("Assay into the lake", ours)):
        print(f"  {name:<24}{row['rate']:>8.0f} requests/s {row['cpu']:>7.2f} CPU s")
    print(f"  rate ratio {ours['rate'] / bare['rate']:.2f} (at least 3), "
          f"CPU ratio {ours['cpu'] / bare['cpu']:.2f} (at most 0.5)")  # fmt: skip


def time_commands() -> None:
    """Wall seconds, start-up included: the single-stage command, and the whole flow."""
    from tests.conftest import make_recipe, write_recipe
    from tests.stub_server import run_stub

    seeds = [{"category": "opinion", "prompt": f"Is {i} a good number?"} for i in range(PROMPTS)]
    with run_stub(delay_ms=5) as stub, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "seeds.jsonl").write_text("\n".join(map(json.dumps, seeds)))
        grown = {"model": "m", "count": 1, "categories": ["opinion"], "seeds": "seeds.jsonl"}
        pool = {"path": "pools/tiny.jsonl", "name": "tiny"}
        recipe = make_recipe(
            models={"m": {"model": "stub", "url": stub.url, "concurrency": IN_FLIGHT}},
            prompts={"open": grown, "imports": [pool]},
            rollouts=[{"model": "m", "n": 1}],
            judges=[],
            label={"policy": "imported"},
            clean={"near_duplicate_similarity": 1.0},
        )
        file = str(write_recipe(place / "recipe.yaml", recipe))
        lakes = [str(place / name) for name in ("stages", "cold", "warm")]
        home = {**os.environ, "ASSAY_HOME": str(place / "home")}
        for stage in ("synthesise", "dedup"):
            time_process(home, stage, file, "--lake", lakes[0])
        single = time_process(home, "rollouts", file, "--lake", lakes[0])
        cold, warm, again = (
            time_process(home, "run", file, "--lake", lake, "--out", f"{lake}-out")
            for lake in (lakes[1], lakes[2], lakes[2])
        )
    print(f"wall seconds with {PROMPTS} prompts, start-up included:")
    print(f"  assay rollouts{single:>24.1f}   (at most 6)")
    print(f"  assay run, new Prefect home{cold:>11.1f}   (at most 30)")
    print(f"  assay run, initialised home{warm:>11.1f}   (at most 15)")
    print(f"  assay run, nothing left to do{again:>9.1f}   (at most 15)")


def time_process(environment: dict[str, str], *arguments: str) -> float:
    """Wall seconds of one command."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.monotonic() - started


def compare_on_vllm() -> None:
    """Tokens per second of the rollout stage against the same requests from a bare loop."""
    from engines.models import open_endpoint, resolve_model
    from engines.services import release_services
    from schemas.recipe import ModelSpec

    try:
        endpoint = open_endpoint(resolve_model(ModelSpec()), print)
        arguments = (endpoint.url, endpoint.model, str(VLLM_PROMPTS), str(VLLM_TOKENS))
        measure("bare", *arguments)  # warm the server
        rates: dict[str, list[float]] = {"bare": [], "assay": []}
        for number in range(VLLM_ROUNDS):
            for side in sorted(rates, reverse=bool(number % 2)):  # neither side always goes first
                row = measure(side, *arguments)
                rates[side].append(row["tokens"] / row["seconds"])
    finally:
        release_services()
    print(f"embedded model on vLLM, {VLLM_PROMPTS} prompts of {VLLM_TOKENS} tokens, tokens/s:")
    for side, found in rates.items():
        print(f"  {side:<6}" + "".join(f"{rate:>8.1f}" for rate in found))
    bare, ours = max(rates["bare"]), max(rates["assay"])
    medians = statistics.median(rates["assay"]) / statistics.median(rates["bare"])
    print(f"  ratio of the fastest rounds {ours / bare:.3f} (at least 0.95), of the medians "
          f"{medians:.3f}")  # fmt: skip


def measure(*arguments: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.orchestration", *arguments],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def summarise(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median rate and CPU seconds."""
    return {
        "rate": statistics.median(row["requests"] / row["seconds"] for row in rounds),
        "cpu": statistics.median(row["cpu"] for row in rounds),
    }


def make_questions(n: int) -> list[list[dict[str, str]]]:
    """Conversations that no two share."""
    return [[{"role": "user", "content": f"Tell me about the number {i}."}] for i in range(n)]


def clock(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall seconds and CPU seconds of a piece of work, imports left out."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    result = work()
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return result, seconds, cpu


def run_bare(url: str, model: str, prompts: str, tokens: str) -> dict[str, float]:
    """A bare AsyncOpenAI loop that keeps nothing."""
    from openai import AsyncOpenAI

    questions = make_questions(int(prompts))

    async def ask_all() -> int:
        client = AsyncOpenAI(base_url=url, api_key="none")
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def ask(i: int, messages: Any) -> int:
            async with gate:
                answer = await client.chat.completions.create(
                    model=model, messages=messages, max_tokens=int(tokens), temperature=0.8, seed=i,
                    extra_body={"ignore_eos": True},
                )  # fmt: skip
                return answer.usage.completion_tokens

        return sum(await asyncio.gather(*(ask(i, q) for i, q in enumerate(questions))))

    total, seconds, cpu = clock(lambda: asyncio.run(ask_all()))
    return {"requests": len(questions), "tokens": total, "seconds": seconds, "cpu": cpu}


def run_ours(url: str, model: str, prompts: str, tokens: str) -> dict[str, float]:
    """The same requests through `run_calls`, every row committed to a lake."""
    from engines.chat import ChatRequest, Endpoint
    from pipelines.lake.calls import Call, run_calls
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.make.rollouts import _make_to_rows
    from schemas.ids import make_prompt_id, make_request_id
    from schemas.recipe import ModelSpec

    questions = make_questions(int(prompts))
    endpoint = Endpoint(url, model, "r", concurrency=IN_FLIGHT)
    from engines.models import ResolvedModel

    to_rows = _make_to_rows(ResolvedModel(model, "r", ModelSpec(model=model, url=url)))

    def make_calls() -> list[Call]:
        calls = []
        for i, messages in enumerate(questions):
            sampling = {"max_tokens": int(tokens), "temperature": 0.8, "seed": i,
                        "ignore_eos": True}  # fmt: skip
            request_id = make_request_id(
                model=model, revision="r", messages=messages, sampling=sampling
            )
            calls.append(
                Call(ChatRequest(request_id, messages, sampling), 0, make_prompt_id(messages))
            )
        return calls

    with tempfile.TemporaryDirectory() as place, open_lake(place) as lake:
        summary, seconds, cpu = clock(
            lambda: run_calls(
                lake,
                new_run(),
                stage="rollouts",
                start=lambda: endpoint,
                wanted=make_calls(),
                done_table="rollouts",
                to_rows=to_rows,
            )
        )
        kept = lake.query("SELECT count(*) AS n FROM rollouts")["n"][0]
    assert kept == len(questions), summary
    return {
        "requests": kept,
        "tokens": summary.extra["tokens_out"],
        "seconds": seconds,
        "cpu": cpu,
    }


SIDES = {"bare": run_bare, "assay": run_ours}

if __name__ == "__main__":
    main()
