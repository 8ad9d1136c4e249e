"""One shape for every judge: an item in, a conversation, judgments out.

A judge is a frozen dataclass with a `model`, an `annotator` name, a `specification` and the
generator `talk(item)`: it yields the requests it needs next, is sent their results in the same
order (a failed call is a result with an `error`), and returns rows of `judgments`. What a judge
asks follows from the item and the answers alone, so a conversation is replayed from stored answers
at no cost, and a killed one goes on where it was.

Who makes the calls is no concern of a judge: `judge_items` makes them and keeps nothing,
`pipelines.label.judging` keeps every answer in the lake.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import polars as pl

from engines.chat import ChatRequest, ChatResult, Endpoint, stream_results
from engines.models import ResolvedModel
from schemas.ids import make_id, make_judgment_id, make_pair_id

T = TypeVar("T")
Row = dict[str, Any]
Talk = Generator[Sequence[ChatRequest], Sequence[ChatResult], T]
READING = 2  # raised where an answer as it stands may be read as another verdict than before

FAILED = r"^(\w+ \d+: )?call failed: "
"""How the reason of a judgment begins that waits for a call to be made again (see `say_failure`;
a judgment on several samples or comparisons names the one)."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a judge is told beside an item (`annotators.guidance`): the `text`, its `hash`, and the
    ids of the pairs of gold in it, the most similar first."""

    text: str
    hash: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """What is judged: a prompt with one response, a pair (smaller id first) or a larger group.

    `answer` is the reference answer; `category` the prompt's. `guidance` is for a judge that shows
    some; what it was stands in the `detail` of each judgment.
    """

    prompt_id: str
    messages: Sequence[Mapping[str, str]]
    response_ids: tuple[str, ...]
    contents: tuple[str, ...]
    category: str = ""
    answer: str | None = None
    guidance: Guidance | None = None

    @property
    def target(self) -> str:
        """The id that judgments of the whole item are about: of the response, the pair, or the
        group."""
        if len(self.response_ids) == 1:
            return self.response_ids[0]
        if len(self.response_ids) == 2:
            return make_pair_id(self.prompt_id, *self.response_ids)
        return make_id("group", self.prompt_id, sorted(self.response_ids))


class Judge(Protocol):
    """Whoever answers through a chat model."""

    @property
    def model(self) -> ResolvedModel:
        """The model that is asked."""
        ...

    @property
    def annotator(self) -> str:
        """Who speaks. Whatever changes the verdicts changes the name: see `name_annotator`."""
        ...

    @property
    def specification(self) -> dict[str, Any]:
        """All that the verdicts depend on, as JSON."""
        ...

    def talk(self, item: Item) -> Talk[list[Row]]:
        """Judge one item."""
        ...


def name_annotator(method: str, model: ResolvedModel, specification: Mapping[str, Any]) -> str:
    """`method:model@revision:hash`, the hash being that of the specification, of whether the
    answers are constrained and of how they are read: another template, sampling or rubric is
    another annotator, whatever a recipe calls it."""
    hashed = make_id("annotator", specification, model.spec.structured, READING)
    return f"{method}:{model.policy}:{hashed[:8]}"


def make_items(frame: pl.DataFrame) -> list[Item]:
    """Items from a frame of pairs: prompt_id, messages, response_a, response_b, content_a,
    content_b and, where known, category and answer."""
    rows = frame.iter_rows(named=True)
    return [
        Item(
            row["prompt_id"],
            row["messages"],
            (row["response_a"], row["response_b"]),
            (row["content_a"], row["content_b"]),
            row.get("category") or "",
            row.get("answer"),
        )
        for row in rows
    ]


def make_row(
    annotator: str,
    item: Item,
    results: Sequence[ChatResult],
    *,
    p_a: float | None = None,
    score: float | None = None,
    tie: bool = False,
    reason: str | None = None,
    response: str | None = None,
    criterion: str | None = None,
    order: str | None = None,
    sample_index: int = 0,
    critique: str | None = None,
    detail: Mapping[str, Any] | None = None,
    count_tokens: bool = True,
) -> Row:
    """A row of `judgments` on a pair, or on one `response` of the item.

    With neither `p_a` nor `score` it is not valid, and `reason` says why. Its tokens and seconds
    are those of all `results`, the calls behind it, the last of which is its `request_id`; a
    further row that the same calls gave is made with `count_tokens` false, so that no token is
    counted twice. A failed call is part of the id, whichever of `results` it is: what is told
    later is another row.
    """
    pair = response is None
    last = results[-1]
    origin = last.request_id if last.error is None else f"{last.request_id}:{last.error}"
    if any(result.error is not None for result in results[:-1]):
        origin = make_id("calls", [[result.request_id, result.error] for result in results])
    target = item.target if response is None else response
    numbers = results if count_tokens else ()
    if item.guidance is not None:
        shown = {"of": item.target, "guidance": item.guidance.hash}
        detail = {**(detail or {}), **shown, "examples": item.guidance.examples}
    return {
        "judgment_id": make_judgment_id(
            annotator,
            target,
            criterion=criterion,
            order=order,
            sample_index=sample_index,
            origin=origin,
        ),
        "annotator": annotator,
        "kind": "llm",
        "prompt_id": item.prompt_id,
        "response_a": item.response_ids[0] if pair else response,
        "response_b": item.response_ids[1] if pair else None,
        "criterion": criterion,
        "p_a": p_a,
        "score": score,
        "tie": tie,
        "valid": p_a is not None or score is not None,
        "reason": reason,
        "order": order,
        "sample_index": sample_index,
        "critique": critique,
        "raw": last.text,
        "detail": None if detail is None else json.dumps(detail, ensure_ascii=False),
        "tokens_in": sum(r.tokens_in or 0 for r in numbers),
        "tokens_out": sum(r.tokens_out or 0 for r in numbers),
        "seconds": sum(r.seconds for r in numbers),
        "request_id": last.request_id,
    }


def say_failure(result: ChatResult) -> str:
    """The reason of a judgment whose call failed."""
    return f"call failed: {result.error}"


def together(talks: Sequence[Talk[T]]) -> Talk[list[T]]:
    """Hold several conversations at once: all that they ask next goes out in one batch."""
    ends: dict[int, T] = {}
    waiting: dict[int, Sequence[ChatRequest]] = {}

    def step(place: int, results: Sequence[ChatResult] | None) -> None:
        try:
            talk = talks[place]
            waiting[place] = next(talk) if results is None else talk.send(results)
        except StopIteration as stop:
            waiting.pop(place, None)
            ends[place] = stop.value

    for place in range(len(talks)):
        step(place, None)
    while waiting:
        asked = list(waiting.items())
        answers = iter((yield [request for _, requests in asked for request in requests]))
        for place, requests in asked:
            step(place, [next(answers) for _ in requests])
    return [ends[place] for place in range(len(talks))]


@dataclass
class Conversation:
    """A judge at an item: the requests it waits for, and its rows once it is through.

    A judge that raises gives one row that is not valid and says so; the others go on.
    """

    judge: Judge
    item: Item
    waiting: Sequence[ChatRequest] = ()
    rows: list[Row] | None = None
    _talk: Talk[list[Row]] | None = field(default=None, repr=False)
    _heard: list[ChatResult] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._talk = self.judge.talk(self.item)
        self._step(None)

    def feed(self, answers: Mapping[str, ChatResult]) -> None:
        """Go on as far as `answers` (by request id) reach."""
        while self.rows is None and all(r.request_id in answers for r in self.waiting):
            self._step([answers[request.request_id] for request in self.waiting])

    def _step(self, results: list[ChatResult] | None) -> None:
        assert self._talk is not None
        try:
            if results is None:
                self.waiting = next(self._talk)
            else:
                self._heard += results
                self.waiting = self._talk.send(results)
        except StopIteration as stop:
            self.rows, self.waiting = stop.value, ()
        except Exception as error:  # a judge's own fault must not stop the others
            last = self._heard or [ChatResult(make_id("unasked", self.item.target))]
            why = f"the judge raised {error!r}"
            first = self.item.response_ids[0] if len(self.item.response_ids) != 2 else None
            row = make_row(self.judge.annotator, self.item, last, reason=why, response=first)
            self.rows, self.waiting = [row], ()


async def judge_items(judge: Judge, items: Iterable[Item], endpoint: Endpoint) -> list[Row]:
    """Judge items through `endpoint`, keeping nothing but the rows, in the order of the items.

    Raises:
        engines.chat.ServerUnreachable: no request can succeed.
    """
    talks = [Conversation(judge, item) for item in items]
    while open_ := [talk for talk in talks if talk.rows is None]:
        asked = {r.request_id: r for talk in open_ for r in talk.waiting}
        async with aclosing(stream_results(endpoint, asked.values())) as results:
            answers = {result.request_id: result async for result in results}
        for talk in open_:
            talk.feed(answers)
    return [row for talk in talks for row in talk.rows or ()]
