"""A yes or no from a model, as a probability."""

from __future__ import annotations

import math
import re

from annotators.asking import VERDICT_TOKENS, Messages, find_choices, make_request, read_choice
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel

YES_NO = ("Yes", "No")
YES, NO = frozenset({"yes", "ye", "y"}), frozenset({"no", "n"})
ALTERNATIVES = 20  # as many as OpenAI and vLLM give
_MARKS = " \t\r\n\"'`*_.,:;!()[]▁Ġ"
_LEADING = re.compile(r"^[\s\"'`*_(\[]*(yes|no)(?![\w'’/-]|[ \t]+\w)", re.IGNORECASE)


def make_decision(
    model: ResolvedModel,
    messages: Messages,
    template: str,
    *,
    order: str | None = None,
    sample_index: int = 0,
) -> ChatRequest:
    """A request for one of the two words, with log probabilities.

    Args:
        template, order, sample_index: see `annotators.asking.make_request`.
    """
    return make_request(
        model,
        messages,
        {"temperature": 0.0, "max_tokens": VERDICT_TOKENS},
        template=template,
        choices=YES_NO,
        top_logprobs=ALTERNATIVES,
        order=order,
        sample_index=sample_index,
    )


def read_decision(result: ChatResult) -> float:
    """P(yes) / (P(yes) + P(no)), each summed over its spellings among the alternatives of the first
    token (`Yes`, ` yes`, `YES` and the like; also `Y`, as a tokenizer may cut the word).

    Where the server gave no log probabilities, or the first token is not the verdict (which stands
    amid words), 1 or 0 by the word.

    Raises:
        annotators.asking.Unreadable: the answer is neither yes nor no, is both, or was cut off
            amid more than the word.
    """
    text, cut = result.text.lstrip(), result.finish_reason == "length"
    leading = _LEADING.match(text)
    named = find_choices(text, YES_NO) | ({leading[1].capitalize()} if leading else set())
    if leading is None or cut or len(named) > 1:
        word = read_choice(text, YES_NO, cut=cut)
    else:
        word = leading[1]
    masses = {"yes": 0.0, "no": 0.0}
    sampled = False
    for token, logprob in (result.first_logprobs or {}).items():
        plain = token.strip(_MARKS).lower()
        side = "yes" if plain in YES else "no" if plain in NO else None
        if side is not None:
            masses[side] += math.exp(logprob)
            sampled |= text.startswith(token.strip(" \t\r\n▁Ġ"))
    total = sum(masses.values())
    if leading and leading[1].lower() == word.lower() and sampled and total > 0:
        return masses["yes"] / total
    return 1.0 if word.lower() == "yes" else 0.0
