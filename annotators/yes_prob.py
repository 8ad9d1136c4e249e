"""The yes-probability judge: how sure a model is that a candidate beats another answer.

After RewardDance (arXiv 2509.08826), from its abstract: the reward is the probability of the token
"yes" to the question whether the candidate is better than a reference under stated criteria. The
paper has no public code; both orders and the reading of the token are this project's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotators.asking import Asked, Messages, ask, make_request, read_choice
from annotators.pairwise import Orders, choose_orders
from annotators.talk import Item, Row, Talk, make_row, name_annotator, say_failure, together
from annotators.templates import hash_templates, render_prompt, render_template
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel

CHOICES = ("Yes", "No")
YES, NO = frozenset({"yes", "ye", "y"}), frozenset({"no", "n"})
ALTERNATIVES = 20  # as many as OpenAI and vLLM give
VERDICT_TOKENS = 4
VERDICT = (
    "By these criteria, is the candidate better than the answer to beat? Reply with Yes or No."
)
_MARKS = " \t\r\n\"'`*_.,:;!()[]▁Ġ"
_LEADING = re.compile(r"^[\s\"'`*_(\[]*(yes|no)(?![\w'’/-]|[ \t]+\w)", re.IGNORECASE)


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
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """One row an order. In `ab` response_a is the candidate and p_a is P(yes); in `ba`
        response_b is, and p_a is 1 - P(yes). The mean of both is
        s = ½ (p(a over b) + 1 - p(b over a))."""
        orders = choose_orders(self.orders, item)
        rows = yield from together([self._judge(item, order) for order in orders])
        return rows

    def _judge(self, item: Item, order: str) -> Talk[Row]:
        messages: list[Mapping[str, str]] = [{"role": "user", "content": self._render(item, order)}]
        before: tuple[ChatResult, ...] = ()
        critique = None
        if self.reason:
            (thought,) = yield [self._make(messages, order, self.max_tokens)]
            before, critique = (thought,), thought.text
            if thought.error is not None:
                why = say_failure(thought)
                return make_row(self.annotator, item, before, reason=why, order=order)
            messages += [
                {"role": "assistant", "content": thought.text or "(no reasons)"},
                {"role": "user", "content": VERDICT},
            ]
        asked: Asked[float] = yield from ask(
            lambda talk: self._make(talk, order, VERDICT_TOKENS, verdict=True), messages, read_yes
        )
        p_yes = asked.value
        return make_row(
            self.annotator,
            item,
            (*before, *asked.results),
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
        )

    def _make(
        self, messages: Messages, order: str, max_tokens: int, verdict: bool = False
    ) -> ChatRequest:
        return make_request(
            self.model,
            messages,
            {"temperature": 0.0, "max_tokens": max_tokens},
            template=hash_templates(self.template),
            choices=CHOICES if verdict else None,
            top_logprobs=ALTERNATIVES if verdict else None,
            order=order,
        )


def read_yes(result: ChatResult) -> float:
    """P(yes) / (P(yes) + P(no)), each summed over its spellings among the alternatives of the first
    token (`Yes`, ` yes`, `YES` and the like; also `Y`, as a tokenizer may cut the word).

    Where the server gave no log probabilities, or the first token is not the verdict (which stands
    amid words), 1 or 0 by the word.

    Raises:
        annotators.asking.Unreadable: the answer is neither yes nor no.
    """
    leading = _LEADING.match(result.text)
    word = leading[1] if leading else read_choice(result.text, CHOICES)
    text = result.text.lstrip()
    masses = {"yes": 0.0, "no": 0.0}
    sampled = False
    for token, logprob in (result.first_logprobs or {}).items():
        plain = token.strip(_MARKS).lower()
        side = "yes" if plain in YES else "no" if plain in NO else None
        if side is not None:
            masses[side] += math.exp(logprob)
            sampled |= text.startswith(token.strip(" \t\r\n▁Ġ"))
    total = sum(masses.values())
    if leading and sampled and total > 0:
        return masses["yes"] / total
    return 1.0 if word.lower() == "yes" else 0.0
