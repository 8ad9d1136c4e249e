"""The chat client: any OpenAI-compatible server, many requests at once, one result for each.

The hot path is aiohttp and orjson under our own typed surface: the official client spends about
ten times the CPU on a request. Each request ends as one `ChatResult`, with an answer or with the
cause of its failure; one bad answer never stops a batch. Only a server that nobody can use (down,
or refusing the key or the model) stops it, as `ServerUnreachable`; one request that a gateway
refuses while it answers others (403 for its content, say) has failed alone.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from schemas.errors import AssayError

WAITING_RESULTS = 32
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FATAL_STATUSES = {401: "refuses the key", 403: "refuses the key", 404: "does not know the model"}
HOPELESS_AFTER = 50
REFUSED_AFTER = 8


class ServerUnreachable(AssayError):
    """No request can succeed: the server is down, or refuses the key or the model.

    `transient` says that trying again later may help (the connection broke).
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class Endpoint:
    """A model on a server. `url` ends in `/v1`; `revision` says which weights it serves.

    `timeout_seconds` is per try of one request; `max_tries` counts the first try.
    """

    url: str
    model: str
    revision: str
    api_key: str | None = field(default=None, repr=False)
    concurrency: int = 32
    timeout_seconds: float = 300.0
    max_tries: int = 5


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call.

    `sampling` goes into the body as it is (temperature, top_p, max_tokens, seed, stop, n is not
    used). `choices` constrains the answer to one of a few texts, `json_schema` to a JSON object.
    `top_logprobs` asks for the log probabilities of that many alternatives of the first token.
    """

    request_id: str
    messages: Sequence[Mapping[str, Any]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] | None = None
    json_schema: Mapping[str, Any] | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class ChatResult:
    """What became of one call: an answer, or `error` (its cause in a word) and `error_detail`.

    `first_logprobs` maps the alternatives of the first token to log probabilities; `logprob` is
    the sum over the answer's tokens; `prompt_logprobs` (vLLM) holds the id and the log probability
    of each token of the prompt, None for the first. They are None where the request asked for none.
    `seconds` includes the tries that failed.
    """

    request_id: str
    text: str = ""
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    logprob: float | None = None
    first_logprobs: Mapping[str, float] | None = None
    seconds: float = 0.0
    tries: int = 1
    error: str | None = None
    error_detail: str | None = None
    prompt_logprobs: tuple[tuple[int, float] | None, ...] | None = None


async def stream_results(
    endpoint: Endpoint, requests: Iterable[ChatRequest]
) -> AsyncIterator[ChatResult]:
    """Send `requests` with `endpoint.concurrency` in flight and yield results as they come.

    A 408, 429 or 5xx, a time-out, a broken connection and an unreadable answer are tried again
    with exponential back-off and jitter, or after the server's Retry-After; any other status is a
    failure at once. Who may stop early closes the iterator (`contextlib.aclosing`), which cancels
    what is in flight.

    Raises:
        ServerUnreachable: after every result that had come was yielded.
    """
    batch = _Batch(endpoint, iter(requests))
    timeout = aiohttp.ClientTimeout(total=endpoint.timeout_seconds)
    connector = aiohttp.TCPConnector(limit=endpoint.concurrency)
    headers = {"Content-Type": "application/json"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, headers=headers
    ) as session:
        workers = [asyncio.create_task(batch.work(session)) for _ in range(endpoint.concurrency)]
        closer = asyncio.create_task(batch.close_after(workers))
        try:
            while (result := await batch.results.get()) is not None:
                yield result
            await asyncio.gather(*workers)  # a worker's bug surfaces
        finally:
            for task in (*workers, closer):
                task.cancel()
            await asyncio.gather(*workers, closer, return_exceptions=True)
    if batch.fatal is not None:
        raise batch.fatal


class _Batch:
    """The state that the workers of one batch share."""

    def __init__(self, endpoint: Endpoint, requests: Iterator[ChatRequest]) -> None:
        self.endpoint = endpoint
        self.requests = requests
        self.results: asyncio.Queue[ChatResult | None] = asyncio.Queue(WAITING_RESULTS)
        self.fatal: ServerUnreachable | None = None
        self._url = f"{endpoint.url.rstrip('/')}/chat/completions"
        self._answered = 0
        self._failed = 0
        self._refused: list[ChatResult] = []  # before the first answer

    async def work(self, session: aiohttp.ClientSession) -> None:
        """Take requests until there are none, or until no request can succeed."""
        for request in self.requests:
            if self.fatal is not None:
                return
            result = await self._complete(session, request)
            if result is not None:
                await self.results.put(result)

    async def close_after(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Mark the end of the results once every worker is through, or one has failed."""
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        if self._refused and not self._answered:
            self._give_up()
        else:
            for result in self._refused:
                await self.results.put(result)
        await self.results.put(None)

    async def _complete(
        self, session: aiohttp.ClientSession, request: ChatRequest
    ) -> ChatResult | None:
        """The result of one request, or None where `fatal` was set."""
        body = orjson.dumps(make_body(self.endpoint.model, request))
        started = time.monotonic()
        tries = answered_before = 0
        while True:
            tries += 1
            if tries == 2:  # not at the first failure: what a server sent before it died comes late
                answered_before = self._answered
            wait: float | None = None
            try:
                async with session.post(self._url, data=body) as response:
                    content = await response.read()
                    status = response.status
                    wait = _read_retry_after(response.headers.get("Retry-After"))
                if status == 200:
                    result = parse_answer(
                        request.request_id, content, time.monotonic() - started, tries
                    )
                    self._answered += 1
                    return result
                cause = f"http_{status}"
                detail = content[:500].decode("utf-8", "replace")
                if status in FATAL_STATUSES and not self._answered:
                    seconds = time.monotonic() - started
                    refusal = ChatResult(
                        request.request_id, seconds=seconds, tries=tries, error=cause,
                        error_detail=detail,
                    )  # fmt: skip
                    self._refused.append(refusal)
                    if status == 401 or len(self._refused) >= REFUSED_AFTER:
                        self._give_up()
                    return None
                retried = status in RETRIED_STATUSES
            except ValueError as error:
                cause, detail, retried = "garbage", str(error), True
            except TimeoutError:
                cause, retried = "timeout", True
                detail = f"no answer within {self.endpoint.timeout_seconds:g} s"
            except aiohttp.ClientError as error:
                cause, detail, retried = "connection", str(error) or type(error).__name__, True
            if self.fatal is not None:
                return None
            if not retried or tries >= self.endpoint.max_tries:
                break
            backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (tries - 1))
            await asyncio.sleep(wait if wait is not None else backoff * random.uniform(0.5, 1.0))
        alive = tries > 1 and self._answered > answered_before
        self._note_failure(cause, detail, alive)
        if self.fatal is not None:
            return None
        return ChatResult(
            request.request_id,
            seconds=time.monotonic() - started,
            tries=tries,
            error=cause,
            error_detail=detail,
        )

    def _give_up(self) -> None:
        last = self._refused[-1]
        status = int((last.error or "http_404").removeprefix("http_"))
        self.fatal = self.fatal or ServerUnreachable(
            f"{self.endpoint.url} {FATAL_STATUSES[status]} {self.endpoint.model} ({status}): "
            f"{(last.error_detail or '')[:200]}"
        )

    def _note_failure(self, cause: str, detail: str, alive: bool) -> None:
        """A dead connection, or many failures with no answer at all, mean that none will come. A
        server that is `alive`, for it answered others meanwhile, broke this connection only."""
        self._failed += 1
        if cause == "connection" and not alive:
            self.fatal = ServerUnreachable(
                f"{self.endpoint.url} cannot be reached ({detail}); start the server or mend the "
                "recipe's url, then run the same command again: what was answered is kept",
                transient=True,
            )
        elif cause != "http_400" and not self._answered and self._failed >= HOPELESS_AFTER:
            self.fatal = ServerUnreachable(
                f"{self.endpoint.url} answered none of the first {self._failed} requests (last: "
                f"{cause}: {detail[:200]}); look at the server's log, then run the same command "
                "again"
            )


def make_body(model: str, request: ChatRequest) -> dict[str, Any]:
    """The JSON body of a chat completion request."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(request.messages),
        **request.sampling,
    }
    if request.choices is not None:
        body["structured_outputs"] = {"choice": list(request.choices)}
    if request.json_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": request.json_schema, "strict": True},
        }
    if request.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return body


def parse_answer(request_id: str, content: bytes, seconds: float, tries: int) -> ChatResult:
    """Read a server's answer.

    Raises:
        ValueError: not JSON, or not a chat completion.
    """
    answer = orjson.loads(content)
    try:
        choice = answer["choices"][0]
        usage = answer.get("usage") or {}
        tokens = (choice.get("logprobs") or {}).get("content") or []
        top = (tokens[0].get("top_logprobs") or ()) if tokens else ()
        prompt = answer.get("prompt_logprobs")
        return ChatResult(
            request_id,
            text=_read_text(choice["message"]["content"]) or "",
            finish_reason=_read_text(choice.get("finish_reason")),
            tokens_in=_read_count(usage.get("prompt_tokens")),
            tokens_out=_read_count(usage.get("completion_tokens")),
            logprob=float(sum(token["logprob"] for token in tokens)) if tokens else None,
            first_logprobs={str(one["token"]): float(one["logprob"]) for one in top} or None,
            seconds=seconds,
            tries=tries,
            prompt_logprobs=_read_prompt_logprobs(prompt) if prompt else None,
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"not a chat completion ({error!r}): {content[:200]!r}") from error


def _read_prompt_logprobs(prompt: list[Any]) -> tuple[tuple[int, float] | None, ...]:
    """vLLM lists a dictionary a token, by token id, of the token itself and then of its
    alternatives."""
    firsts = (next(iter(one.items())) if one else None for one in prompt)
    return tuple((int(first[0]), float(first[1]["logprob"])) if first else None for first in firsts)


def _read_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"no text: {value!r:.80}")


def _read_count(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and 0 <= value < 2**63):
        return value
    raise TypeError(f"no count: {value!r:.80}")


def _read_retry_after(value: str | None) -> float | None:
    """Seconds to wait: Retry-After is a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), 300.0)
