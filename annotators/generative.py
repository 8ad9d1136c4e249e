"""The generative judge: principles, critiques and scores for any number of responses, k times.

After DeepSeek-GRM and its SPCT (arXiv 2504.02495; a re-implementation from a summary of it, with
words of its own): the judge says by what this request's answers should be judged, criticises each
answer under those principles, and scores it; the scores of several samples, each shown in another
order, are summed; a meta judge may say which samples to sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annotators.asking import Asked, Messages, ask, make_request
from annotators.assessments import LOWEST, TOP, Assessment, make_schema, read_assessment
from annotators.deciding import make_decision, read_decision
from annotators.guidance import Guide
from annotators.pairwise import Orders, choose_orders
from annotators.talk import Item, Row, Talk, make_row, name_annotator, say_failure, together
from annotators.templates import hash_templates, render_prompt, render_template
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.errors import AssayError
from schemas.ids import make_id, make_seed

SUM = "sum"


class SamplesUneven(AssayError):
    """The samples of a judge cannot be shared out evenly between the two orders."""


@dataclass(frozen=True)
class MetaFilter:
    """A second question about each sample, put to the same model: is this assessment right? Half
    of the samples, those with the highest P(yes), are summed.

    `template` shows `prompt`, `responses`, `critique` and `scores`, and the `reference` answer
    where there is one. It pays only where the meta judge is good: with a poor one, filtering loses
    to summing all samples. What both would say is in the rows, so that gold can decide.
    """

    template: str


@dataclass(frozen=True)
class Sample:
    """One of the k answers: which responses (places in the item) it was shown in which order, what
    it came to, and what the meta judge said of it."""

    index: int
    order: str | None
    shown: tuple[int, ...]
    asked: Asked[Assessment]
    meta: Asked[float] | None = None

    @property
    def failure(self) -> ChatResult | None:
        """The call that failed, if one did."""
        results = (*self.asked.results, *(self.meta.results if self.meta else ()))
        return next((result for result in results if result.error is not None), None)

    @property
    def scores(self) -> tuple[int, ...]:
        """The scores in the order of the item's responses."""
        assert self.asked.value is not None
        by_place = dict(zip(self.shown, self.asked.value.scores, strict=True))
        return tuple(by_place[place] for place in range(len(self.shown)))


@dataclass(frozen=True)
class GenerativeJudge:
    """A judge of one, two or more responses.

    `template` shows `prompt` and `responses` and knows their `count`, whether the answer is JSON
    (`structured`), and the `reference` answer where there is one. `k` samples are drawn at
    `temperature`. Half of them show a pair in either order (with `orders` `both`); one response or
    more than two are shown in an order that follows from the item and the sample. `max_tokens`
    bounds a sample, and with it the critiques' length.

    Raises:
        SamplesUneven: `k` is not positive, or is odd and both orders are wanted.
    """

    model: ResolvedModel
    template: str
    k: int = 4
    temperature: float = 0.5
    max_tokens: int = 768
    orders: Orders = "both"
    meta: MetaFilter | None = None
    guide: Guide | None = None

    def __post_init__(self) -> None:
        if self.k < 1 or (self.k % 2 and self.orders == "both"):
            raise SamplesUneven(
                f"k is {self.k}: a generative judge that shows pairs in both orders needs an even "
                "number of samples; set the judge's k to 2, 4 or more"
            )

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        return name_annotator("generative", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        return {
            "method": "generative",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "structured": self.model.spec.structured,
            "k": self.k,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "orders": self.orders,
            "meta": self.meta.template if self.meta else None,
            **({"guide": self.guide.specification} if self.guide else {}),
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """For each sample and response a row with its `score`, 1 to 10. A sample that cannot be
        read is not valid for any of its responses, and is in no sum.

        Then what the samples come to. Of a pair, a row for each order shown:
        p_a = 0.5 + (S_a - S_b) / (2 · 9 · n), with S the sums over the n samples kept. That is a
        margin on the scale of the scores, not a probability that anybody has calibrated; equal
        sums are a tie. Of other items, a row for each response with the criterion `sum` and its S
        as `score`. A failed call (unlike an answer that cannot be read) leaves these rows not
        valid until it is made again: two sums of one pair would count it twice.
        """
        orders = choose_orders(self.orders, item) if len(item.contents) == 2 else (None,)
        samples = yield from together(
            [self._sample(item, orders[j % len(orders)], j) for j in range(self.k)]
        )
        rows = [row for sample in samples for row in self._note_sample(item, sample)]
        for order in orders:
            rows += self._sum(item, order, [s for s in samples if s.order == order])
        return rows

    def _sample(self, item: Item, order: str | None, index: int) -> Talk[Sample]:
        count = len(item.contents)
        shown = (0, 1) if order == "ab" else (1, 0) if order else shuffle_places(item, index)
        values: dict[str, Any] = {
            "prompt": render_prompt(item.messages),
            "reference": item.answer,
            "responses": show_responses([item.contents[place] for place in shown]),
        }
        structured = self.model.spec.structured
        text = render_template(
            self.template,
            **values,
            count=count,
            structured=structured,
            guidance=item.guidance.text if item.guidance else None,
        )
        asked: Asked[Assessment] = yield from ask(
            lambda talk: self._make(talk, item, order, index),
            [{"role": "user", "content": text}],
            lambda result: read_assessment(result.text, count),
        )
        if self.meta is None or asked.value is None:
            return Sample(index, order, shown, asked)
        template = self.meta.template
        critique, scores = asked.value.describe(), asked.value.list_scores()
        text = render_template(template, **values, critique=critique, scores=scores)
        meta: Asked[float] = yield from ask(
            lambda talk: make_decision(
                self.model, talk, hash_templates(template), order=order, sample_index=index
            ),
            [{"role": "user", "content": text}],
            read_decision,
        )
        return Sample(index, order, shown, asked, meta)

    def _make(self, messages: Messages, item: Item, order: str | None, index: int) -> ChatRequest:
        sampling: dict[str, Any] = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if self.temperature > 0:
            sampling["seed"] = make_seed("generative", item.target, order, index)
        return make_request(
            self.model,
            messages,
            sampling,
            template=hash_templates(self.template),
            json_schema=make_schema(len(item.contents), self.max_tokens),
            order=order,
            sample_index=index,
        )

    def _note_sample(self, item: Item, sample: Sample) -> list[Row]:
        said = sample.asked.value
        rows = []
        for place, response in enumerate(item.response_ids):
            position = sample.shown.index(place)
            row = make_row(
                self.annotator,
                item,
                sample.asked.results,
                score=None if said is None else float(said.scores[position]),
                reason=sample.asked.reason,
                response=response,
                sample_index=sample.index,
                critique=said.critiques[position] if said and said.critiques else None,
                detail={"shown": position + 1, "of": len(sample.shown), "order": sample.order},
                count_tokens=place == 0,
            )
            rows.append(row)
        return rows

    def _sum(self, item: Item, order: str | None, samples: Sequence[Sample]) -> list[Row]:
        """What the samples of one order come to. The rows count the tokens of the meta judge."""
        readable = [sample for sample in samples if sample.asked.value is not None]
        kept = readable if self.meta is None else keep_best(readable, (len(samples) + 1) // 2)
        reason = None
        failed = [(sample.index, failure) for sample in samples if (failure := sample.failure)]
        if failed:
            reason = f"sample {failed[0][0]}: {say_failure(failed[0][1])}"
        elif not readable:
            reason = f"none of {len(samples)} samples could be read: {samples[0].asked.reason}"
        elif not kept:
            reason = f"no word of the meta judge on any of {len(readable)} samples could be read"
        sums = add_scores(kept, len(item.contents))
        calls = [r for sample in samples for r in sample.asked.results]
        checks = [r for sample in samples if sample.meta for r in sample.meta.results]
        # the id of a sum follows from every call behind it: none of them alone is its origin
        origin = make_id("samples", [[r.request_id, r.error] for r in (*calls, *checks)])
        said: dict[str, Any] = {
            "reason": reason,
            "order": order,
            "detail": {
                "k": len(samples),
                "readable": len(readable),
                "kept": [sample.index for sample in kept],
                "sums": sums,
                "sums_all": add_scores(readable, len(item.contents)),
                "meta": None if self.meta is None else [
                    [s.index, s.meta.value] for s in readable if s.meta is not None
                ],
                "principles": [s.asked.value.principles for s in kept if s.asked.value],
            },
        }  # fmt: skip
        results = (*checks, ChatResult(origin))
        if len(item.contents) == 2:
            if reason is None:
                margin = (sums[0] - sums[1]) / ((TOP - LOWEST) * len(kept))
                said |= {"p_a": 0.5 + margin / 2, "tie": margin == 0}
            rows = [make_row(self.annotator, item, results, **said)]
        else:
            rows = [
                make_row(
                    self.annotator,
                    item,
                    results,
                    score=None if reason else float(sums[place]),
                    response=response,
                    criterion=SUM,
                    count_tokens=place == 0,
                    **said,
                )
                for place, response in enumerate(item.response_ids)
            ]
        return [{**row, "request_id": None, "raw": None} for row in rows]


def shuffle_places(item: Item, index: int) -> tuple[int, ...]:
    """The order in which sample `index` shows an item's responses, as places in the item. It
    follows from their ids, not from their order in the item."""
    seeds = [make_seed("shuffle", item.target, index, one) for one in item.response_ids]
    return tuple(sorted(range(len(seeds)), key=seeds.__getitem__))


def show_responses(contents: Sequence[str]) -> str:
    """Responses under numbered headings."""
    return "\n\n".join(f"[Answer {n}]\n{text}" for n, text in enumerate(contents, start=1))


def keep_best(samples: Sequence[Sample], keep: int) -> list[Sample]:
    """The `keep` samples that the meta judge finds likeliest to be right, in their own order; of
    equals the earlier. One without its word is not kept."""
    judged = [(s.meta.value, s) for s in samples if s.meta and s.meta.value is not None]
    best = sorted(judged, key=lambda one: (-one[0], one[1].index))[:keep]
    return sorted((sample for _, sample in best), key=lambda sample: sample.index)


def add_scores(samples: Sequence[Sample], count: int) -> list[int]:
    """The sum of the scores of each of `count` responses."""
    return [sum(sample.scores[place] for sample in samples) for place in range(count)]
