"""The rubric judge: gates, then the intent, criteria for the pair, and a score for each of them.

After OpenRS (arXiv 2602.14069; a re-implementation from its description): what can be checked is
checked without a model; the intent is read before the responses are seen; the criteria are written
for the pair, with the category's rubric as a reference; the scores are combined outside the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from annotators.asking import Asked, Messages, ask, make_request
from annotators.pairwise import Orders, choose_orders
from annotators.rubrics.aggregate import Checks, aggregate_scores, check_pair
from annotators.rubrics.forms import (
    make_criteria_schema,
    make_scores_schema,
    read_criteria,
    read_scores,
)
from annotators.rubrics.gates import read_request
from annotators.rubrics.reference import Decision, decide_by_gate
from annotators.rubrics.rubric import Criterion, Rubric, choose_rubric, describe_rubric
from annotators.talk import Item, Row, Talk, make_row, name_annotator, say_failure, together
from annotators.templates import hash_templates, load_template, render_prompt, render_template
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_id

INTENT_TOKENS = 96
GATES = 2  # raised where what is decided without a model would be decided otherwise


@dataclass(frozen=True)
class RubricTemplates:
    """What the judge says at each step. All three begin with the same instructions, and up to the
    end of the second response `criteria` and `scores` of written criteria render the same text, so
    that a server with a prefix cache reads it once."""

    intent: str
    criteria: str
    scores: str


def load_rubric_templates(base: Path | None = None) -> RubricTemplates:
    """The templates that ship, or those of the same names under `base`.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    pair = ("prompt", "first", "second")
    known: dict[str, Any] = {"reference": None, "intent": None}
    names = [f"judges/rubric_{name}.jinja" for name in ("intent", "criteria", "scores")]
    intent, criteria, scores = (find_asset(name, base) for name in names)
    return RubricTemplates(
        load_template(intent, ("prompt",)),
        load_template(criteria, pair, **known, least=1, most=1, rubric=()),
        load_template(scores, pair, **known, criteria=()),
    )


@dataclass(frozen=True)
class RubricJudge:
    """A judge of pairs by stated criteria.

    `rubrics`: one alone holds for every prompt; of several that of the prompt's category is taken,
    else that for `*`. With `adapt` the model reads the intent and writes the criteria of each pair,
    two calls more; without it the rubric's own criteria are scored, one call an order. It writes
    `least` to `most` criteria. `orders` as of the pairwise judge. `max_tokens` bounds the criteria,
    and the scores of one order.
    """

    model: ResolvedModel
    templates: RubricTemplates
    rubrics: tuple[Rubric, ...]
    orders: Orders = "both"
    adapt: bool = True
    least: int = 5
    most: int = 15
    max_tokens: int = 1536

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`. One rubric is in the name with its version; the
        hash is over all of them."""
        first = self.rubrics[0]
        one = f"-{first.name}-v{first.version}" if len(self.rubrics) == 1 else ""
        return name_annotator(f"rubric{one}", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        return {
            "method": "rubric",
            "model": self.model.name,
            "revision": self.model.revision,
            "templates": asdict(self.templates),
            "rubrics": [{**describe_rubric(r), "hash": r.hash} for r in self.rubrics],
            "orders": self.orders,
            "adapt": [self.least, self.most] if self.adapt else None,
            "max_tokens": self.max_tokens,
            "gates": GATES,
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """For each order a row for every criterion (`score`, -2 to 2 for response_a) and one for
        the whole (`p_a`); a row without an order for each criterion that a gate decides. A pair
        that a gate decides by itself is one row."""
        decision = decide_by_gate(item)
        if decision is not None:
            return [self._note_decision(item, decision)]
        alone = len(self.rubrics) == 1
        rubric = self.rubrics[0] if alone else choose_rubric(self.rubrics, item.category)
        request = read_request(item.messages)
        checks = check_pair(rubric.criteria, request, item.contents[0], item.contents[1])
        orders = choose_orders(self.orders, item)
        plan = Plan(rubric, None, rubric.asked, None, ())
        if self.adapt:
            plan = yield from self._adapt(item, rubric, orders[0])
        if plan.reason is not None:
            return [
                make_row(self.annotator, item, plan.results, reason=plan.reason, order=order,
                         count_tokens=place == 0)
                for place, order in enumerate(orders)
            ]  # fmt: skip
        rows = [self._note_check(item, *scored) for scored in checks.scores]
        parts = yield from together(
            [
                self._score(item, plan, checks, order, plan.results if place == 0 else ())
                for place, order in enumerate(orders)
            ]
        )
        return rows + [row for part in parts for row in part]

    def _adapt(self, item: Item, rubric: Rubric, order: str) -> Talk[Plan]:
        """Read the intent without the responses, then write the criteria with them in sight."""
        text = render_template(self.templates.intent, prompt=render_prompt(item.messages))
        (heard,) = yield [
            make_request(
                self.model,
                [{"role": "user", "content": text}],
                {"temperature": 0.0, "max_tokens": INTENT_TOKENS},
                template=hash_templates(self.templates.intent),
            )
        ]
        intent = heard.text.strip()
        if heard.error is not None or not intent:
            reason = say_failure(heard) if heard.error else "the intent is empty"
            return Plan(rubric, None, (), reason, (heard,))
        text = self._show(
            self.templates.criteria, item, order, intent,
            rubric=rubric.asked, least=self.least, most=self.most,
        )  # fmt: skip
        schema = make_criteria_schema(self.least, self.most)
        asked: Asked[tuple[Criterion, ...]] = yield from ask(
            lambda talk: self._make(talk, self.templates.criteria, schema),
            [{"role": "user", "content": text}],
            lambda result: read_criteria(result.text, self.least, self.most, rubric.checked),
        )
        return Plan(rubric, intent, asked.value or (), asked.reason, (heard, *asked.results))

    def _score(
        self, item: Item, plan: Plan, checks: Checks, order: str, before: Sequence[ChatResult]
    ) -> Talk[list[Row]]:
        criteria = plan.criteria
        text = self._show(self.templates.scores, item, order, plan.intent, criteria=criteria)
        schema = make_scores_schema(len(criteria))
        asked: Asked[tuple[tuple[float, str], ...]] = yield from ask(
            lambda talk: self._make(talk, self.templates.scores, schema, order),
            [{"role": "user", "content": text}],
            lambda result: read_scores(result.text, criteria),
        )
        results = (*before, *asked.results)
        if asked.value is None:
            return [make_row(self.annotator, item, results, reason=asked.reason, order=order)]
        sign = 1.0 if order == "ab" else -1.0
        scored = [(c, sign * s or 0.0) for c, (s, _) in zip(criteria, asked.value, strict=True)]
        outcome = aggregate_scores([*scored, *checks.scores], checks.penalties)
        whole = make_row(
            self.annotator,
            item,
            results,
            p_a=outcome.p_a,
            tie=outcome.tie,
            order=order,
            detail={
                **_name_rubric(plan.rubric),
                "intent": plan.intent,
                "score": outcome.score,
                "mean_all": outcome.mean_all,
                "mean_nonzero": outcome.mean_nonzero,
                "veto_by": outcome.veto_by,
                "penalties": outcome.penalties,
                "failed": dict(zip("ab", checks.failed, strict=True)),
                "criteria": [_describe(c) for c in criteria] if self.adapt else None,
            },
        )
        parts = [
            make_row(
                self.annotator,
                item,
                results,
                score=score,
                criterion=criterion.title,
                order=order,
                critique=evidence,
                detail={"kind": criterion.kind},
                count_tokens=False,
            )
            for (criterion, score), (_, evidence) in zip(scored, asked.value, strict=True)
        ]
        return [*parts, whole]

    def _show(
        self, template: str, item: Item, order: str, intent: str | None, **values: Any
    ) -> str:
        first, second = item.contents if order == "ab" else reversed(item.contents)
        return render_template(
            template,
            prompt=render_prompt(item.messages),
            reference=item.answer,
            intent=intent,
            first=first,
            second=second,
            **values,
        )

    def _make(
        self,
        messages: Messages,
        template: str,
        schema: Mapping[str, Any],
        order: str | None = None,
    ) -> ChatRequest:
        return make_request(
            self.model,
            messages,
            {"temperature": 0.0, "max_tokens": self.max_tokens},
            template=hash_templates(template),
            json_schema=schema,
            order=order,
        )

    def _note_decision(self, item: Item, decision: Decision) -> Row:
        detail = {"gate": decision.gate, "reason": decision.reason}
        return self._note(item, decision.gate, p_a=decision.p_a, tie=decision.p_a == 0.5,
                          detail=detail)  # fmt: skip

    def _note_check(self, item: Item, criterion: Criterion, score: float) -> Row:
        detail = {"kind": criterion.kind, "gate": criterion.check}
        return self._note(item, criterion.title, score=score, criterion=criterion.title,
                          detail=detail)  # fmt: skip

    def _note(self, item: Item, gate: str, **said: Any) -> Row:
        """A row that no call stands behind."""
        nobody = ChatResult(make_id("gate", gate, item.target))
        return {
            **make_row(self.annotator, item, [nobody], **said),
            "request_id": None,
            "raw": None,
        }


@dataclass(frozen=True)
class Plan:
    """By what a pair is compared, and the calls that this took; or the reason why by nothing."""

    rubric: Rubric
    intent: str | None
    criteria: tuple[Criterion, ...]
    reason: str | None
    results: tuple[ChatResult, ...]


def _name_rubric(rubric: Rubric) -> dict[str, Any]:
    return {"rubric": rubric.name, "version": rubric.version, "hash": rubric.hash}


def _describe(criterion: Criterion) -> dict[str, str]:
    return {"title": criterion.title, "description": criterion.description, "kind": criterion.kind}
