"""A yes or no from a model, as a probability."""

from __future__ import annotations

import math
from collections.abc import Mapping

from annotators.asking import Messages, make_request, read_choice
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel

YES_NO = ("Yes", "No")
ALTERNATIVES = 10


def make_decision(model: ResolvedModel, messages: Messages, template: str) -> ChatRequest:
    """A request for one of the two words, with log probabilities.

    Args:
        template: see `annotators.asking.make_request`.
    """
    sampling = {"temperature": 0.0, "max_tokens": 3}
    return make_request(
        model, messages, sampling, template=template, choices=YES_NO, top_logprobs=ALTERNATIVES
    )


def read_decision(result: ChatResult) -> float:
    """P(yes) = m_yes / (m_yes + m_no), the masses of the first tokens that spell or begin the
    word in any case (`Yes`, ` yes`, `Y`); where the server gave none, 1 or 0 by the word.

    Raises:
        annotators.asking.Unreadable: neither word.
    """
    word = read_choice(result.text, YES_NO)
    yes, no = (_sum_mass(result.first_logprobs or {}, name) for name in YES_NO)
    first = result.text.lstrip(" *.[(\"'")
    if yes + no > 0 and first.lower().startswith(word.lower()):
        return yes / (yes + no)
    return 1.0 if word == YES_NO[0] else 0.0


def _sum_mass(logprobs: Mapping[str, float], word: str) -> float:
    heads = [(token.strip().lower(), logprob) for token, logprob in logprobs.items()]
    return math.fsum(math.exp(lp) for head, lp in heads if head and word.lower().startswith(head))
