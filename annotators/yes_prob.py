"""The yes-probability judge: how sure a model is that a candidate beats another answer.

After RewardDance (arXiv 2509.08826), from its abstract: the reward is the probability of the token
"yes" to the question whether the candidate is better than a reference under stated criteria. The
paper has no public code; both orders and the reading of the token (`annotators.deciding`) are this
project's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from annotators.asking import ask_verdict, make_request
from annotators.deciding import make_decision, read_decision
from annotators.guidance import Guide
from annotators.pairwise import Orders, choose_orders
from annotators.talk import Item, Row, Talk, make_row, name_annotator, together
from annotators.templates import hash_templates, render_prompt, render_template
from engines.models import ResolvedModel

VERDICT = (
    "By these criteria, is the candidate better than the answer to beat? Reply with Yes or No."
)


@dataclass(frozen=True)
class YesProbJudge:
    """A judge of pairs that asks in turn of each response whether it beats the other one.

    `template` shows `prompt`, `candidate` and `opponent`, the `criteria` and the `reference` answer
    where there are such, and asks for Yes or No, or (where `reason` is true) for reasons, after
    which the question is put. Without `criteria` those of the template hold. `max_tokens` bounds
    the reasons.
    """

    model: ResolvedModel
    template: str
    criteria: str | None = None
    orders: Orders = "both"
    reason: bool = False
    max_tokens: int = 256
    guide: Guide | None = None

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        return name_annotator("yes_prob", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        return {
            "method": "yes_prob",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "criteria": self.criteria,
            "orders": self.orders,
            "reason": self.reason,
            **({"max_tokens": self.max_tokens} if self.reason else {}),
            **({"guide": self.guide.specification} if self.guide else {}),
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """One row an order. In `ab` response_a is the candidate and p_a is P(yes); in `ba`
        response_b is, and p_a is 1 - P(yes). The mean of both is
        s = ½ (p(a over b) + 1 - p(b over a))."""
        orders = choose_orders(self.orders, item)
        rows = yield from together([self._judge(item, order) for order in orders])
        return rows

    def _judge(self, item: Item, order: str) -> Talk[Row]:
        messages = [{"role": "user", "content": self._render(item, order)}]
        template = hash_templates(self.template)
        thinking = None
        if self.reason:
            sampling = {"temperature": 0.0, "max_tokens": self.max_tokens}
            thinking = make_request(self.model, messages, sampling, template=template, order=order)
        asked, critique = yield from ask_verdict(
            lambda talk: make_decision(self.model, talk, template, order=order),
            messages,
            read_decision,
            thinking=thinking,
            question=VERDICT,
        )
        p_yes = asked.value
        return make_row(
            self.annotator,
            item,
            asked.results,
            p_a=p_yes if p_yes is None or order == "ab" else 1.0 - p_yes,
            reason=asked.reason,
            order=order,
            critique=critique,
        )

    def _render(self, item: Item, order: str) -> str:
        candidate, opponent = item.contents if order == "ab" else reversed(item.contents)
        return render_template(
            self.template,
            prompt=render_prompt(item.messages),
            candidate=candidate,
            opponent=opponent,
            criteria=self.criteria,
            reference=item.answer,
            reason=self.reason,
            guidance=item.guidance.text if item.guidance else None,
        )
