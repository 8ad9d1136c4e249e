"""The pairwise LLM judge: both orders, a constrained choice, and its log probabilities.

A judge asked in one order has a favourite position (the embedded model answers "A" 40 times out
of 40), so each pair is asked twice with the responses swapped and the two probabilities are
averaged; both raw rows stay. (Zheng et al. 2023, "Judging LLM-as-a-judge", section 3.4.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel
from schemas.errors import AssayError
from schemas.ids import hash_text, make_request_id

CHOICES = ("A", "B")
ORDERS = ("ab", "ba")
SAMPLING = {"temperature": 0.0, "max_tokens": 2}


class TemplateBroken(AssayError):
    """A judge's template cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class PairwiseJudge:
    """A judge: its model and its template (variables: prompt, first, second)."""

    model: ResolvedModel
    template: str

    @property
    def annotator(self) -> str:
        """Who speaks: another template or other weights are another judge. What a recipe calls it
        is no part of it, so that a second recipe finds what this judge has said."""
        return f"pairwise:{self.model.policy}:{hash_text(self.template)[:8]}"

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON: what a hash alone could not bring back."""
        return {
            "method": "pairwise",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "choices": list(CHOICES),
            "orders": list(ORDERS),
            "sampling": SAMPLING,
        }

    def make_request(
        self, prompt: str, response_a: str, response_b: str, order: str
    ) -> ChatRequest:
        """The request that shows the pair in `order` (`ab` shows response_a first)."""
        first, second = (response_a, response_b) if order == "ab" else (response_b, response_a)
        text = _compile(self.template).render(prompt=prompt, first=first, second=second)
        messages = [{"role": "user", "content": text}]
        request_id = make_request_id(
            model=self.model.name,
            revision=self.model.revision,
            messages=messages,
            sampling=SAMPLING,
            template=hash_text(self.template),
            schema=list(CHOICES),
            order=order,
        )
        return ChatRequest(
            request_id, messages, SAMPLING, choices=CHOICES, top_logprobs=len(CHOICES)
        )


@dataclass(frozen=True)
class Verdict:
    """The probability that response_a is better, or the reason why the answer says nothing."""

    p_a: float | None
    reason: str | None


def load_template(file: Path) -> str:
    """Read a judge's template.

    Raises:
        TemplateBroken: not valid Jinja, or it does not show prompt, first and second.
    """
    text = file.read_text(encoding="utf-8")
    try:
        shown = _compile(text).render(prompt="⟦p⟧", first="⟦1⟧", second="⟦2⟧")
    except jinja2.TemplateError as error:
        raise TemplateBroken(f"{file}: {error}") from error
    for mark, name in (("⟦p⟧", "prompt"), ("⟦1⟧", "first"), ("⟦2⟧", "second")):
        if mark not in shown:
            raise TemplateBroken(f"{file}: the template never shows {{{{ {name} }}}}")
    return text


def read_verdict(result: ChatResult, order: str) -> Verdict:
    """What a judge's answer says of response_a.

    p = exp(l_A) / (exp(l_A) + exp(l_B)) over the two choices; where the server gave no log
    probabilities, 1 or 0 by the letter. Any other answer is unscored, never 0.
    """
    letter = result.text.strip()
    if letter not in CHOICES:
        return Verdict(None, f"neither A nor B: {result.text[:80]!r}")
    p_first = 1.0 if letter == CHOICES[0] else 0.0
    if result.first_logprobs:
        masses = _sum_masses(result.first_logprobs)
        total = sum(masses.values())
        if total > 0:
            p_first = masses[CHOICES[0]] / total
    return Verdict(p_first if order == "ab" else 1.0 - p_first, None)


def render_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as a judge or a person reads it: one message plain, several with roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)


def _sum_masses(logprobs: Mapping[str, float]) -> dict[str, float]:
    masses = dict.fromkeys(CHOICES, 0.0)
    for token, logprob in logprobs.items():
        if token.strip() in masses:
            masses[token.strip()] += math.exp(logprob)
    return masses


def _compile(text: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(text)
