"""A counting stand-in for a chat server, for faults and for measuring overhead.

It answers every request after `delay_ms` with a text (or a choice) that follows from the request,
so that two runs get the same answers, and counts what it was asked. Faults are chosen by the hash
of the conversation, so they hit the same prompts every time. With `judges` it is a judge with a
mind of its own: see `tests.stub_judge`. `python -m tests.stub_server JSON`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.stub_judge import fill_form, prefer_first

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Faults:
    """What goes wrong: shares of conversations, the status they get, and what comes instead.

    `always_rate` fails each time, `once_rate` the first time; `garbage` answers no JSON;
    `wrong_format` of the conversations get a choice that was not offered; `hang` never answers,
    nor do conversations with `hang_contains`; `break_contains` breaks the connection;
    `odd_contains` answers JSON of another shape. `judges` is no fault, see above; nor is `bodies`,
    a file to which every request is written, one a line.
    """

    delay_ms: float = 0.0
    always_rate: float = 0.0
    once_rate: float = 0.0
    status: int = 500
    retry_after: str | None = None
    garbage: bool = False
    hang: bool = False
    judges: bool = False
    wrong_format_rate: float = 0.0
    log: str | None = None
    bodies: str | None = None
    always_count: int = 0
    wrong_format_contains: str | None = None
    fail_contains: str | None = None
    hang_contains: str | None = None
    break_contains: str | None = None
    odd_contains: str | None = None


@dataclass(frozen=True)
class Stub:
    """A running stub: `url` ends in `/v1`."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """`requests`, `distinct`, `repeated`, `max_in_flight` so far."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as response:
            return json.load(response)


@contextmanager
def run_stub(**faults: Any) -> Iterator[Stub]:
    """Start a stub in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stub_server", json.dumps(asdict(Faults(**faults)))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        yield Stub(f"http://127.0.0.1:{port}/v1", process)
    finally:
        process.kill()
        process.wait()


def _share(text: str, salt: str) -> float:
    digest = hashlib.blake2b(f"{salt}{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class _State:
    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.seen: Counter[str] = Counter()
        self.in_flight = 0
        self.max_in_flight = 0
        self.log = open(faults.log, "a") if faults.log else None  # noqa: SIM115
        self.bodies = open(faults.bodies, "ab") if faults.bodies else None  # noqa: SIM115

    async def chat(self, request: web.Request) -> web.Response:
        raw = await request.read()
        key = hashlib.blake2b(raw, digest_size=12).hexdigest()
        self.seen[key] += 1
        if self.log:
            self.log.write(f"{key}\n")
            self.log.flush()
        if self.bodies:
            self.bodies.write(raw + b"\n")
            self.bodies.flush()
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self._concerns(self.faults.break_contains, raw) and request.transport:
                request.transport.abort()
            return await self._answer(raw, key)
        finally:
            self.in_flight -= 1

    def _concerns(self, marker: str | None, raw: bytes) -> bool:
        return marker is not None and marker.encode() in raw

    async def _answer(self, raw: bytes, key: str) -> web.Response:
        faults = self.faults
        if faults.delay_ms:
            await asyncio.sleep(faults.delay_ms / 1000)
        if faults.hang or self._concerns(faults.hang_contains, raw):
            await asyncio.sleep(3600)
        if faults.garbage:
            return web.Response(body=b"<html>oops", content_type="application/json")
        if self._concerns(faults.odd_contains, raw):
            choice = {"message": {"content": "A"}, "logprobs": {"content": [{"token": "A"}]}}
            return web.json_response({"choices": [choice], "usage": [1, 2]})
        body = json.loads(raw)
        talk = json.dumps(body["messages"])
        fails = _share(talk, "always") < faults.always_rate
        fails |= faults.fail_contains is not None and faults.fail_contains in talk
        fails |= _share(talk, "once") < faults.once_rate and self.seen[key] == 1
        if fails:
            headers = {"Retry-After": faults.retry_after} if faults.retry_after else {}
            return web.json_response({"error": "as asked"}, status=faults.status, headers=headers)
        answer = self._complete(body, talk, key)
        if "prompt_logprobs" in body:
            answer["prompt_logprobs"] = _read_prompt(body)
        return web.json_response(answer)

    def _complete(self, body: dict[str, Any], talk: str, key: str) -> dict[str, Any]:
        choices = body.get("structured_outputs", {}).get("choice")
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        shown = str(body["messages"][0]["content"]) if self.faults.judges else ""
        logprobs = None
        wrong = _share(talk, "wrong") < self.faults.wrong_format_rate
        marker = self.faults.wrong_format_contains
        wrong |= marker is not None and marker in talk
        if choices:
            p = prefer_first(shown)
            p = 0.05 + 0.9 * _share(talk, "choice") if p is None else p
            text = choices[0] if p >= 0.5 else choices[1]
            tops = [_top(choices[0], p), _top(choices[1], 1 - p)]
            if wrong:
                text, tops = "neither, sorry", [_top("neither", 1.0)]
            logprobs = {"content": [{**_top(text, max(p, 1 - p)), "top_logprobs": tops}]}
        elif schema and self.faults.judges:
            text = json.dumps(fill_form(schema, shown))
        else:
            words = " ".join(f"w{key[i : i + 2]}" for i in range(0, 24, 2))
            text = f"An answer of {words}."
        return {
            "id": key,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                    "logprobs": logprobs,
                }
            ],
            "usage": {
                "prompt_tokens": len(talk) // 4,
                "completion_tokens": len(text) // 4,
                "total_tokens": (len(talk) + len(text)) // 4,
            },
        }

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": sum(self.seen.values()),
                "distinct": len(self.seen),
                "repeated": sum(self.seen.values()) - len(self.seen),
                "max_in_flight": self.max_in_flight,
            }
        )


def _top(token: str, p: float) -> dict[str, Any]:
    import math

    return {"token": token, "logprob": math.log(p)}


def _read_prompt(body: dict[str, Any]) -> list[dict[str, Any] | None]:
    """As vLLM does: each token of the prompt (here a word) with a log probability that follows from
    the model and what stands before it; none for the first."""
    text = "".join(f"<{one['role']}> {one['content']} <end> " for one in body["messages"])
    if body.get("continue_final_message"):
        text = text.removesuffix(" <end> ")
    if body.get("add_generation_prompt", True):
        text += "<assistant>"
    words = text.split()
    tokens: list[dict[str, Any] | None] = [None]
    for place, word in enumerate(words[1:], start=1):
        before = " ".join([body["model"], *words[: place + 1]])
        told = {"logprob": -0.1 - _share(before, "token"), "rank": 1, "decoded_token": word}
        tokens.append({str(int(_share(word, "id") * 2**31)): told})
    return tokens


async def _serve(faults: Faults) -> None:
    state = _State(faults)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", state.chat)
    app.router.add_get("/v1/stats", state.stats)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Faults(**json.loads(sys.argv[1]))))
