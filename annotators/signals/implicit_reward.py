"""What a teacher thinks of a response that its reference does not: log p_teacher - log p_reference.

After G-OPD / ExOPD ("Learning beyond Teacher: Generalized On-Policy Distillation with Reward
Extrapolation", arXiv 2602.12125): a model that was trained for something carries an implicit reward
against what it was trained from, token by token,

    reward(response) = λ Σ_t [log p_teacher(token_t) - log p_reference(token_t)],

so the best reference is the teacher's own base. λ > 1 widens the margin between two responses and
does not change which is better.

Log probabilities come from vLLM's `prompt_logprobs` over a chat completion whose last message is
the response, left open (`continue_final_message`). Which tokens are the response's is found by two
more requests for the conversation without it: one opens the assistant's turn as the server would
to answer, the other has a letter where the response was, one that the response does not begin with.
The response begins where the ids of the whole part from those of an opening. The longer agreement
counts: the letter shows what a template puts before an answer (an empty thought) and how what
stands before it is cut into tokens; the plain opening fits where the template moves an answer's own
thought. One token before the letter's (two of space) may have melted into the response's first,
and is then the response's; an opening that parts earlier does not fit, and where neither fits there
is no score. The token that ends the turn is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotators.asking import Unreadable, make_request
from annotators.signals.rows import SignalUnusable, make_score_row, name_signal
from annotators.talk import Item, Row, say_failure
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel

Array = NDArray[np.float64]
SAMPLING = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0}
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}
IMPOSSIBLE = -9999.0  # vLLM's word for the logarithm of 0
LETTERS = ("A", "B")
DIGITS = 6
PromptTokens = Sequence[tuple[int, float] | None]


@dataclass(frozen=True)
class TokenLogprobs:
    """The tokens of one response under one model: ids and natural logarithms of probabilities."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ImplicitReward:
    """`score` = `scale` (λ) * `raw`; `raw` is the sum of `per_token`, in nats."""

    per_token: Array
    raw: float
    scale: float
    score: float


def compute_implicit_reward(
    teacher: ArrayLike, reference: ArrayLike, *, scale: float = 1.0
) -> ImplicitReward:
    """The reward of one response from its tokens' log probabilities under both models.

    Args:
        teacher, reference: (tokens,), natural logarithms.
        scale: λ, above 0.

    Raises:
        SignalUnusable: the shapes differ, there is no token, a number is not finite, or λ is not
            above 0.
    """
    ours, theirs = np.asarray(teacher, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or not ours.size:
        raise SignalUnusable(
            f"{ours.shape} log probabilities of the teacher and {theirs.shape} of the reference: "
            "both must be of the same tokens, at least one"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise SignalUnusable("a log probability is not finite: such a response has no reward")
    if not (np.isfinite(scale) and scale > 0):
        raise SignalUnusable(f"lambda is {scale}; it must be above 0")
    per_token = ours - theirs
    raw = float(per_token.sum())
    return ImplicitReward(per_token, raw, scale, scale * raw)


def make_logprob_requests(
    model: ResolvedModel, messages: Sequence[Mapping[str, str]], content: str
) -> tuple[ChatRequest, ChatRequest, ChatRequest]:
    """The conversation with the response, opened for a response, and with a letter in its place.
    The last two are the same for other responses to the prompt (of the last there are two), ids
    included, so they need asking once."""
    letter = next(one for one in LETTERS if not content.strip().startswith(one))
    whole = [*messages, {"role": "assistant", "content": content}]
    filled = [*messages, {"role": "assistant", "content": letter}]
    return (
        make_request(model, whole, {**SAMPLING, **CONTINUED}),
        make_request(model, messages, SAMPLING),
        make_request(model, filled, {**SAMPLING, **CONTINUED}),
    )


def read_logprobs(results: Sequence[ChatResult]) -> TokenLogprobs:
    """The response's own tokens, out of the results of `make_logprob_requests`, in its order.

    Raises:
        annotators.asking.Unreadable: a call failed, the server gives no `prompt_logprobs`, neither
            opening fits, the response has no token, or one that is impossible under the model.
    """
    heard: list[PromptTokens] = []
    for result in results:
        if result.error is not None:
            raise Unreadable(say_failure(result))
        if result.prompt_logprobs is None:
            raise Unreadable("the server gave no prompt_logprobs, as vLLM does")
        heard.append(result.prompt_logprobs)
    whole, opened, filled = heard
    begins = find_begin(whole, opened, 1), find_begin(whole, filled, 3)
    fitting = [begin for begin in begins if begin is not None]
    if not fitting:
        raise Unreadable(
            "no telling where the response begins: the chat template writes the turn in another "
            "way than it opens it"
        )
    own = [token for token in whole[max(fitting) :] if token is not None]
    if not own:
        raise Unreadable("the response has no token")
    ids, logprobs = zip(*own, strict=True)
    if min(logprobs) <= IMPOSSIBLE:
        place = logprobs.index(min(logprobs))
        raise Unreadable(f"token {place} of the response is impossible under the model")
    return TokenLogprobs(ids, logprobs)


def find_begin(whole: PromptTokens, opening: PromptTokens, spare: int) -> int | None:
    """The place in `whole` where it parts from `opening`, or None where more than `spare` tokens of
    the opening are left there. (The first token of a prompt is None: nothing comes before it.)"""
    shared = sum(1 for _ in takewhile(_is_same, zip(whole, opening, strict=False)))
    return shared if shared >= max(len(opening) - spare, 1) else None


def name_implicit(teacher: ResolvedModel, reference: ResolvedModel, *, scale: float = 1.0) -> str:
    """The annotator of these models and of this lambda."""
    specification = {"teacher": teacher.policy, "reference": reference.policy, "lambda": scale}
    return name_signal("implicit-reward", specification, model=teacher.policy)


def make_implicit_row(
    item: Item,
    teacher: ResolvedModel,
    reference: ResolvedModel,
    heard_teacher: Sequence[ChatResult],
    heard_reference: Sequence[ChatResult],
    *,
    scale: float = 1.0,
    count_openings: bool = True,
) -> Row:
    """A row of `judgments` on the item's one response.

    The detail holds `raw`, `lambda` and `per_token` (rounded); `request_id` is the teacher's.
    Without log probabilities of the same tokens under both models the row is not valid.

    Args:
        heard_teacher, heard_reference: the results of `make_logprob_requests`, in its order.
        count_openings: false for further responses to a prompt, whose openings are counted already.

    Raises:
        SignalUnusable: lambda is not above 0.
    """
    annotator = name_implicit(teacher, reference, scale=scale)
    score, reason, detail = None, None, None
    try:
        ours, theirs = read_logprobs(heard_teacher), read_logprobs(heard_reference)
        if ours.ids != theirs.ids:
            raise Unreadable("teacher and reference cut the response into different tokens")
        reward = compute_implicit_reward(ours.logprobs, theirs.logprobs, scale=scale)
        per_token = [round(float(part), DIGITS) for part in reward.per_token]
        score = reward.score
        detail = {"raw": reward.raw, "lambda": scale, "per_token": per_token}
    except Unreadable as fault:
        reason = str(fault)
    row = make_score_row(
        annotator,
        item.prompt_id,
        item.response_ids[0],
        score,
        reason=reason,
        origin=[f"{one[0].request_id}:{reason or ''}" for one in (heard_teacher, heard_reference)],
        detail=detail,
    )
    calls = slice(None) if count_openings else slice(1)
    counted = [*heard_teacher[calls], *heard_reference[calls]]
    return {
        **row,
        "tokens_in": sum(result.tokens_in or 0 for result in counted),
        "tokens_out": sum(result.tokens_out or 0 for result in counted),
        "seconds": sum(result.seconds for result in counted),
        "request_id": heard_teacher[0].request_id,
    }


def _is_same(pair: tuple[tuple[int, float] | None, tuple[int, float] | None]) -> bool:
    ours, theirs = pair
    return (ours and ours[0]) == (theirs and theirs[0])
