"""The chat client against a real HTTP server: retries, causes, limits, garbage."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from engines.chat import (
    WAITING_RESULTS,
    ChatRequest,
    ChatResult,
    Endpoint,
    ServerUnreachable,
    parse_answer,
    stream_results,
)
from tests.stub_server import run_stub


def make_requests(n: int, **fields: Any) -> list[ChatRequest]:
    return [
        ChatRequest(f"r{i}", [{"role": "user", "content": f"question {i}"}], {"seed": i}, **fields)
        for i in range(n)
    ]


def collect(endpoint: Endpoint, requests: list[ChatRequest]) -> list[ChatResult]:
    async def gather() -> list[ChatResult]:
        return [result async for result in stream_results(endpoint, requests)]

    return asyncio.run(gather())


def make_endpoint(url: str, **fields: Any) -> Endpoint:
    return Endpoint(url, "m", "r", **{"concurrency": 16, "timeout_seconds": 10, **fields})


def test_every_request_ends_once_and_concurrency_is_bounded() -> None:
    with run_stub(delay_ms=5) as stub:
        results = collect(make_endpoint(stub.url), make_requests(200))
        assert sorted(r.request_id for r in results) == sorted(f"r{i}" for i in range(200))
        assert all(r.error is None and r.tokens_out and r.finish_reason == "stop" for r in results)
        assert len({r.text for r in results}) == 200
        assert 1 < stub.stats()["max_in_flight"] <= 16


def test_a_consumer_that_stops_early_ends_at_once() -> None:
    """More results wait than the queue holds, and nobody will ever read them."""

    async def take_one(endpoint: Endpoint) -> None:
        async with aclosing(stream_results(endpoint, make_requests(400))) as results:
            async for _ in results:
                await asyncio.sleep(0.5)
                raise RuntimeError("the consumer failed")

    async def take_no_longer_than(seconds: float, endpoint: Endpoint) -> None:
        await asyncio.wait_for(take_one(endpoint), seconds)

    with run_stub() as stub:
        with pytest.raises(RuntimeError, match="the consumer failed"):
            asyncio.run(take_no_longer_than(5, make_endpoint(stub.url)))
        assert stub.stats()["requests"] > WAITING_RESULTS


def test_choices_come_with_log_probabilities() -> None:
    with run_stub() as stub:
        (result,) = collect(
            make_endpoint(stub.url), make_requests(1, choices=("A", "B"), top_logprobs=2)
        )
    assert result.text in ("A", "B")
    assert set(result.first_logprobs or {}) == {"A", "B"}


def test_a_failure_once_costs_nothing_visible() -> None:
    with run_stub(once_rate=0.2, status=503) as stub:
        results = collect(make_endpoint(stub.url), make_requests(100))
        assert all(r.error is None for r in results)
        tried_again = [r for r in results if r.tries == 2]
        assert tried_again
        assert stub.stats()["requests"] == 100 + len(tried_again)


def test_a_permanent_failure_is_one_result_with_its_cause() -> None:
    with run_stub(always_rate=0.1, status=500) as stub:
        results = collect(make_endpoint(stub.url, max_tries=2), make_requests(100))
    failed = [r for r in results if r.error]
    assert failed and len(results) == 100
    assert {(r.error, r.tries) for r in failed} == {("http_500", 2)}
    assert "as asked" in (failed[0].error_detail or "")


def test_a_bad_request_is_not_tried_again() -> None:
    with run_stub(always_rate=0.1, status=400) as stub:
        results = collect(make_endpoint(stub.url), make_requests(60))
    assert {r.tries for r in results if r.error == "http_400"} == {1}


def test_retry_after_is_honoured() -> None:
    with run_stub(once_rate=1.0, status=429, retry_after="1") as stub:
        started = time.monotonic()
        (result,) = collect(make_endpoint(stub.url), make_requests(1))
        assert 1.0 <= time.monotonic() - started < 4
        assert result.tries == 2


def test_a_hanging_server_times_out_by_request() -> None:
    with run_stub(hang=True) as stub:
        results = collect(
            make_endpoint(stub.url, timeout_seconds=0.3, max_tries=1), make_requests(3)
        )
    assert [r.error for r in results] == ["timeout"] * 3


def test_garbage_is_a_cause_of_its_own() -> None:
    with run_stub(garbage=True) as stub:
        results = collect(make_endpoint(stub.url, max_tries=1), make_requests(3))
    assert [r.error for r in results] == ["garbage"] * 3


def make_answer(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "A"}, "finish_reason": "stop", **choice}]}


@pytest.mark.parametrize("logprobs", [
    None, {}, {"content": None}, {"content": [{"token": "A", "logprob": -0.5}]},
    {"content": [{"token": "A", "logprob": -0.5, "top_logprobs": None}]},
])  # fmt: skip
@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_what_a_server_leaves_out_is_unknown(logprobs: Any, usage: Any) -> None:
    content = orjson.dumps({**make_answer(logprobs=logprobs), "usage": usage})
    result = parse_answer("r", content, 0.1, 1)
    assert (result.text, result.finish_reason) == ("A", "stop")
    assert (result.first_logprobs, result.tokens_in, result.tokens_out) == (None, None, None)
    assert result.logprob in (None, -0.5)


def test_prompt_logprobs_are_those_of_the_prompts_own_tokens() -> None:
    """vLLM lists each token first and its alternatives after it, by id."""
    second = {"9": {"logprob": -3.5, "rank": 40}, "7": {"logprob": -0.1, "rank": 1}}
    third = {"7": {"logprob": -9999, "rank": 2}}
    content = orjson.dumps({**make_answer(), "prompt_logprobs": [None, second, third]})
    result = parse_answer("r", content, 0.1, 1)
    assert result.prompt_logprobs == (None, (9, -3.5), (7, -9999.0))


@pytest.mark.parametrize("answer", [{}, {"prompt_logprobs": None}, {"prompt_logprobs": []}])
def test_an_answer_without_prompt_logprobs_has_none(answer: dict[str, Any]) -> None:
    result = parse_answer("r", orjson.dumps({**make_answer(), **answer}), 0.1, 1)
    assert result.prompt_logprobs is None


@pytest.mark.parametrize("answer", [
    None, [], "no", {"choices": None}, {"choices": []}, {"choices": [7]},
    make_answer(message=None), make_answer(message={"content": ["A"]}),
    make_answer(finish_reason={}), make_answer(logprobs=[1]), make_answer(logprobs={"content": 7}),
    {**make_answer(), "prompt_logprobs": 7}, {**make_answer(), "prompt_logprobs": ["no"]},
    {**make_answer(), "prompt_logprobs": [{"7": {"rank": 1}}]},
    {**make_answer(), "prompt_logprobs": [{"seven": {"logprob": -1.0}}]},
    make_answer(logprobs={"content": [None]}), make_answer(logprobs={"content": [{"token": "A"}]}),
    make_answer(logprobs={"content": [{"logprob": None}]}),
    make_answer(logprobs={"content": [{"logprob": -1.0, "top_logprobs": [{"token": "A"}]}]}),
    make_answer(logprobs={"content": [
        {"logprob": -1.0, "top_logprobs": [{"token": "A", "logprob": None}]}]}),
    {**make_answer(), "usage": [1, 2]}, {**make_answer(), "usage": {"prompt_tokens": "12"}},
    {**make_answer(), "usage": {"completion_tokens": -1}},
])  # fmt: skip
def test_an_answer_of_another_shape_is_said_to_be_one(answer: Any) -> None:
    with pytest.raises(ValueError, match="not a chat completion"):
        parse_answer("r", orjson.dumps(answer), 0.1, 1)


def test_one_odd_answer_is_one_failure_of_a_batch() -> None:
    with run_stub(odd_contains='question 7"') as stub:
        results = collect(make_endpoint(stub.url, max_tries=1), make_requests(50))
    assert len(results) == 50
    assert [(r.request_id, r.error) for r in results if r.error] == [("r7", "garbage")]


def test_a_request_that_breaks_its_connection_is_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engines.chat.FIRST_BACKOFF_SECONDS", 0.1)
    with run_stub(break_contains='question 1"', delay_ms=20) as stub:
        endpoint = make_endpoint(stub.url, max_tries=4, concurrency=4)
        results = collect(endpoint, make_requests(200))
    assert len(results) == 200
    assert [(r.request_id, r.error, r.tries) for r in results if r.error] == [
        ("r1", "connection", 4)
    ]


def test_a_server_that_dies_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.chat.FIRST_BACKOFF_SECONDS", 0.05)
    seen: list[ChatResult] = []

    async def kill_half_way(endpoint: Endpoint) -> None:
        async for result in stream_results(endpoint, make_requests(400)):
            seen.append(result)
            if len(seen) == 100:
                stub.process.kill()

    with run_stub(delay_ms=2) as stub, pytest.raises(ServerUnreachable, match="cannot be reached"):
        asyncio.run(kill_half_way(make_endpoint(stub.url, max_tries=3)))
    assert len(seen) >= 100
    assert all(result.error is None for result in seen)


def test_a_server_that_only_fails_ends_the_batch_early() -> None:
    with run_stub(always_rate=1.0) as stub:
        with pytest.raises(ServerUnreachable, match="answered none of the first"):
            collect(make_endpoint(stub.url, max_tries=1), make_requests(2000))
        assert stub.stats()["requests"] < 200


def test_a_server_that_is_down_is_named_with_the_mend() -> None:
    endpoint = make_endpoint("http://127.0.0.1:9/v1", max_tries=1)
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9.*same command again") as caught:
        collect(endpoint, make_requests(50))
    assert caught.value.transient


@pytest.mark.parametrize(("status", "words"), [(401, "refuses the key"), (404, "does not know")])
def test_a_refused_key_or_model_stops_at_once(status: int, words: str) -> None:
    with run_stub(always_rate=1.0, status=status) as stub:
        with pytest.raises(ServerUnreachable, match=words):
            collect(make_endpoint(stub.url, api_key="secret-key"), make_requests(500))
        assert stub.stats()["requests"] <= 64


def test_a_gateway_that_refuses_one_request_fails_that_one() -> None:
    with run_stub(fail_contains='question 0"', status=403) as stub:
        results = collect(make_endpoint(stub.url, concurrency=4), make_requests(60))
        assert len(results) == 60
        assert [(r.request_id, r.error) for r in results if r.error] == [("r0", "http_403")]


def test_a_refusal_of_all_of_a_few_requests_is_the_server_s() -> None:
    with (
        run_stub(always_rate=1.0, status=404) as stub,
        pytest.raises(ServerUnreachable, match="does not know"),
    ):
        collect(make_endpoint(stub.url), make_requests(3))


def test_a_key_is_not_shown() -> None:
    assert "secret-key" not in repr(make_endpoint("http://x/v1", api_key="secret-key"))
