"""The pairwise LLM judge: both orders, and a probability for each.

A judge asked in one order has a favourite position (the embedded model answers "A" 40 times out
of 40), so each pair is asked twice with the responses swapped and policies average the two; both
raw rows stay. (Zheng et al. 2023, "Judging LLM-as-a-judge", section 3.4.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from annotators.asking import VERDICT_TOKENS, Messages, ask_verdict, make_request, read_choice
from annotators.guidance import Guide
from annotators.talk import Item, Row, Talk, make_row, name_annotator, together
from annotators.templates import hash_templates, render_prompt, render_template
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_seed

CHOICES = ("A", "B")
ALTERNATIVES = 20
Mode = Literal["choice", "vote", "reason"]
Orders = Literal["both", "ab", "ba", "random"]
VERDICT = "Which answer is better? Reply with the letter A or B."


@dataclass(frozen=True)
class PairwiseJudge:
    """A judge of pairs.

    `template` shows `prompt`, `first` and `second`, the `reference` answer where there is one, and
    asks for a letter, or in mode `reason` (the variable `reason` is true) for an analysis.

    Modes: `choice` takes the probability of the letter; `vote` takes the letters of `k` samples as
    1 or 0; `reason` lets the model write its reasons first and then takes the probability of the
    letter. `orders` other than `both` asks once a pair, and says so in the specification. With a
    `guide` the template shows the item's `guidance` too.
    """

    model: ResolvedModel
    template: str
    mode: Mode = "choice"
    k: int = 1
    temperature: float = 0.0
    orders: Orders = "both"
    max_tokens: int = 256
    guide: Guide | None = None

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        return name_annotator("pairwise", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON: what a hash alone could not bring back."""
        return {
            "method": "pairwise",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "mode": self.mode,
            "k": self.k,
            "temperature": self.temperature,
            "orders": self.orders,
            "choices": list(CHOICES),
            "structured": self.model.spec.structured,
            **({"max_tokens": self.max_tokens} if self.mode == "reason" else {}),
            **({"guide": self.guide.specification} if self.guide else {}),
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """Two rows a sample, one an order."""
        orders = choose_orders(self.orders, item)
        rows = yield from together(
            [self._judge(item, order, sample) for order in orders for sample in range(self.k)]
        )
        return rows

    def _judge(self, item: Item, order: str, sample: int) -> Talk[Row]:
        messages = [{"role": "user", "content": self._render(item, order)}]
        thinking = None
        if self.mode == "reason":
            thinking = self._make(messages, order, sample, item, letter=False)
        asked, critique = yield from ask_verdict(
            lambda talk: self._make(talk, order, sample, item),
            messages,
            read_letter,
            thinking=thinking,
            question=VERDICT,
        )
        p_first = asked.value
        return make_row(
            self.annotator,
            item,
            asked.results,
            p_a=p_first if p_first is None or order == "ab" else 1.0 - p_first,
            reason=asked.reason,
            order=order,
            sample_index=sample,
            critique=critique,
        )

    def _render(self, item: Item, order: str) -> str:
        first, second = item.contents if order == "ab" else reversed(item.contents)
        return render_template(
            self.template,
            prompt=render_prompt(item.messages),
            first=first,
            second=second,
            reference=item.answer,
            reason=self.mode == "reason",
            guidance=item.guidance.text if item.guidance else None,
        )

    def _make(
        self, messages: Messages, order: str, sample: int, item: Item, letter: bool = True
    ) -> ChatRequest:
        sampling: dict[str, Any] = {
            "temperature": self.temperature,
            "max_tokens": VERDICT_TOKENS if letter else self.max_tokens,
        }
        if self.temperature > 0:
            sampling["seed"] = make_seed("pairwise", item.target, order, sample)
        return make_request(
            self.model,
            messages,
            sampling,
            template=hash_templates(self.template),
            choices=CHOICES if letter else None,
            top_logprobs=self._count_alternatives() if letter and self.mode != "vote" else None,
            order=order,
            sample_index=sample,
        )

    def _count_alternatives(self) -> int:
        """Both letters where nothing else may come; else enough for both to be among them."""
        return len(CHOICES) if self.model.spec.structured else ALTERNATIVES


def choose_orders(orders: Orders, item: Item) -> tuple[str, ...]:
    """The orders in which a pair is shown: `ab` shows the smaller response id first. `random` is
    one order, which follows from the pair's id."""
    if orders == "both":
        return ("ab", "ba")
    if orders == "random":
        return ("ab" if make_seed("order", item.target) % 2 else "ba",)
    return (orders,)


def read_letter(result: ChatResult) -> float:
    """The probability of the first-shown response.

    p = exp(l_A) / (exp(l_A) + exp(l_B)) over the two letters, a letter that is not among the
    alternatives being as likely as the least likely of them at most; where the server gave no log
    probabilities, or the letter stands amid words, 1 or 0 by the letter.

    Raises:
        annotators.asking.Unreadable: the answer is neither letter, names both, or was cut off amid
            more than the letter.
    """
    letter = read_choice(result.text, CHOICES, cut=result.finish_reason == "length")
    if result.first_logprobs and result.text.strip() in CHOICES:
        least = math.exp(min(result.first_logprobs.values()))
        masses = {name: mass or least for name, mass in _sum_masses(result.first_logprobs).items()}
        total = sum(masses.values())
        if total > 0:
            return masses[CHOICES[0]] / total
    return 1.0 if letter == CHOICES[0] else 0.0


def _sum_masses(logprobs: Mapping[str, float]) -> dict[str, float]:
    masses = dict.fromkeys(CHOICES, 0.0)
    for token, logprob in logprobs.items():
        if token.strip() in masses:
            masses[token.strip()] += math.exp(logprob)
    return masses
