"""Implicit rewards: sums by hand, and which tokens are the response's under several templates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable
from annotators.signals.implicit_reward import (
    compute_implicit_reward,
    find_begin,
    make_implicit_row,
    make_logprob_requests,
    read_logprobs,
)
from annotators.signals.rows import SignalUnusable
from engines.chat import ChatRequest, ChatResult, make_body
from engines.models import ResolvedModel
from schemas.ids import make_seed
from tests.annotators.judging import MODEL, SPEC, make_item
from tests.annotators.signals.checking import check_rows

MESSAGES = [{"role": "user", "content": "Say it."}]
BASE = ResolvedModel("base", "r0", SPEC)
logprobs = st.lists(st.floats(-50, 0), min_size=1, max_size=20)

PIECES = re.compile(r"</?\w+>| ?\w+|[^\s\w]|\s+(?!\S)|\s")
contents = st.text(alphabet="AB ab.\n<>", min_size=1, max_size=12)


def render_plain(messages: list[dict[str, str]], opened: bool) -> str:
    turns = [f"<{one['role']}>\n{one['content']}<end>\n" for one in messages]
    return "".join(turns) + ("<assistant>\n" if opened else "")


def render_trimmed(messages: list[dict[str, str]], opened: bool) -> str:
    turns = [f"<{one['role']}>\n\n{one['content'].strip()}<end>" for one in messages]
    return "".join(turns) + ("<assistant>\n\n" if opened else "")


def render_thought(messages: list[dict[str, str]], opened: bool) -> str:
    """An empty thought before a last answer that has none, and none when a turn is opened."""
    text = ""
    for place, one in enumerate(messages, start=1):
        last = one["role"] == "assistant" and place == len(messages)
        thought = "<think>\n\n</think>\n\n" if last and "<think>" not in one["content"] else ""
        text += f"<{one['role']}>\n{thought}{one['content']}<end>\n"
    return text + ("<assistant>\n" if opened else "")


def render_moving(messages: list[dict[str, str]], opened: bool) -> str:
    """A turn that is opened in one way and written in another."""
    return render_plain(messages, False) + ("<assistant>\n<think>\n<now>\n" if opened else "")


Render = Callable[[list[dict[str, str]], bool], str]


def cut(text: str) -> list[str]:
    """Tokens of which spaces melt into what stands beside them, as in most vocabularies."""
    return PIECES.findall(text)


def serve(request: ChatRequest, render: Render, model: str = "teacher") -> ChatResult:
    """As vLLM answers: the prompt's tokens, each with a log probability that follows from those
    before it."""
    body = make_body(model, request)
    assert body["prompt_logprobs"] == 0 and body["max_tokens"] == 1
    opened = body.get("add_generation_prompt", True)
    text = render(body["messages"], opened)
    if body.get("continue_final_message"):
        text = text[: text.rindex("<end>")]
    pieces = cut(text)
    said: list[tuple[int, float] | None] = [None]
    for place in range(1, len(pieces)):
        surprise = 0.1 + make_seed(model, pieces[: place + 1]) / 2**31
        said.append((make_seed("token", pieces[place]), -surprise))
    return ChatResult(
        request.request_id, "x", tokens_in=len(pieces), tokens_out=1, prompt_logprobs=tuple(said)
    )


def hear(content: str, render: Render, model: str = "teacher") -> list[ChatResult]:
    requests = make_logprob_requests(MODEL, MESSAGES, content)
    return [serve(request, render, model) for request in requests]


def list_ids(text: str) -> tuple[int, ...]:
    return tuple(make_seed("token", piece) for piece in cut(text))


def test_a_reward_by_hand() -> None:
    reward = compute_implicit_reward([-1.0, -0.5], [-2.0, -0.25], scale=1.25)
    assert reward.per_token.tolist() == [1.0, -0.25]
    assert (reward.raw, reward.scale, reward.score) == (0.75, 1.25, 0.9375)


@given(logprobs, st.floats(0.1, 5))
def test_swapping_the_models_turns_the_sign_and_lambda_only_stretches(
    said: list[float], scale: float
) -> None:
    teacher, reference = np.array(said), np.array(said[::-1]) - 0.5
    one = compute_implicit_reward(teacher, reference, scale=scale)
    other = compute_implicit_reward(reference, teacher, scale=scale)
    assert one.score == pytest.approx(-other.score)
    assert one.score == pytest.approx(scale * one.raw)
    assert one.raw == pytest.approx(one.per_token.sum()) == pytest.approx(0.5 * len(said))
    assert compute_implicit_reward(teacher, teacher).score == 0


@pytest.mark.parametrize(
    ("teacher", "reference", "scale"),
    [([], [], 1), ([-1], [-1, -2], 1), ([-math.inf], [-1], 1), ([-1], [math.nan], 1),
     ([-1], [-1], 0), ([-1], [-1], math.inf)],
)  # fmt: skip
def test_unusable_log_probabilities_are_refused(
    teacher: list[float], reference: list[float], scale: float
) -> None:
    with pytest.raises(SignalUnusable):
        compute_implicit_reward(teacher, reference, scale=scale)


@pytest.mark.parametrize("render", [render_plain, render_trimmed, render_thought, render_moving])
@pytest.mark.parametrize("content", ["Hello you.", "A dog", "B", "a\n\nb", "x" * 50, "!"])
def test_the_tokens_are_the_responses_own(render: Render, content: str) -> None:
    assert read_logprobs(hear(content, render)).ids == list_ids(content)


@pytest.mark.parametrize("render", [render_plain, render_trimmed, render_thought])
@given(contents)
def test_no_token_of_the_response_is_lost_whatever_it_begins_with(
    render: Render, content: str
) -> None:
    """Space at its beginning may melt with the template's: then both are counted, never neither."""
    results = hear(content, render)
    written = content.strip() if render is render_trimmed else content
    if not cut(written):
        with pytest.raises(Unreadable, match="no token"):
            read_logprobs(results)
        return
    found = read_logprobs(results).ids
    begin = len(results[0].prompt_logprobs or ()) - len(found)
    whole = render([*MESSAGES, {"role": "assistant", "content": content}], False)
    pieces = cut(whole[: whole.rindex("<end>")])
    counted = "".join(pieces[begin:])
    assert counted.endswith(written)
    assert not counted[: len(counted) - len(written)].strip()


def test_a_thought_of_the_response_is_its_own() -> None:
    content = "<think>\nhm\n</think>\n\nok"
    assert read_logprobs(hear(content, render_thought)).ids == list_ids(content)


def test_a_template_that_hides_the_response_gives_no_score() -> None:
    def render(messages: list[dict[str, str]], opened: bool) -> str:
        if opened:
            return "<chat>\n<other>\n" + render_plain(messages, True)
        return f"<chat>\n<{len(messages[-1]['content'])}>" + render_plain(messages, False)

    with pytest.raises(Unreadable, match="no telling where the response begins"):
        read_logprobs(hear("Hello you.", render))


def test_where_two_prompts_part() -> None:
    whole = [None, (1, -0.1), (2, -0.1), (3, -0.1)]
    assert find_begin(whole, [None, (1, -9.0)], 1) == 2
    assert find_begin(whole, [None, (1, -9.0), (7, -0.1)], 1) == 2
    assert find_begin(whole, [None, (1, -9.0), (7, -0.1), (8, -0.1)], 1) is None
    assert find_begin(whole, [], 1) is None
    assert find_begin([], [], 1) is None


def test_openings_are_asked_once_a_prompt() -> None:
    one, other = (make_logprob_requests(MODEL, MESSAGES, text) for text in ("dog", "cat"))
    assert one[0].request_id != other[0].request_id
    assert [a.request_id for a in one[1:]] == [b.request_id for b in other[1:]]
    assert "add_generation_prompt" not in one[1].sampling
    assert one[0].sampling["continue_final_message"] is True


def judge(content: str, **changes: Any) -> dict[str, Any]:
    item = make_item(content)
    heard = hear(content, render_plain), hear(content, render_plain, "base")
    return make_implicit_row(item, MODEL, BASE, *heard, **changes)


def test_a_row_keeps_the_raw_sum_and_every_token() -> None:
    content = "Hello you."
    (row,) = check_rows([judge(content, scale=2.0)])
    ours, theirs = (read_logprobs(hear(content, render_plain, m)) for m in ("teacher", "base"))
    raw = sum(ours.logprobs) - sum(theirs.logprobs)
    assert row["score"] == pytest.approx(2 * raw)
    assert row["annotator"].startswith(f"signal:implicit-reward:{MODEL.policy}:")
    detail = json.loads(row["detail"])
    assert (detail["raw"], detail["lambda"]) == (pytest.approx(raw), 2.0)
    assert len(detail["per_token"]) == len(ours.ids)
    assert sum(detail["per_token"]) == pytest.approx(raw, abs=1e-5)
    assert row["tokens_in"] > judge(content, count_openings=False)["tokens_in"] > 0
    assert judge(content)["annotator"] != row["annotator"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"error": "timeout"}, "call failed: timeout"),
        ({"prompt_logprobs": None}, "gave no prompt_logprobs"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_failed_call_leaves_the_response_unscored(
    broken: dict[str, Any], reason: str, place: int
) -> None:
    content = "Hello you."
    heard = hear(content, render_plain)
    lost = list(heard)
    lost[place] = ChatResult(heard[place].request_id, **broken)
    (row,) = check_rows([make_implicit_row(make_item(content), MODEL, BASE, lost, heard)])
    assert (row["valid"], row["score"]) == (False, None)
    assert reason in row["reason"]
    whole = make_implicit_row(make_item(content), MODEL, BASE, heard, heard)
    assert whole["score"] == 0
    assert whole["judgment_id"] != row["judgment_id"]


def test_other_tokens_or_an_impossible_one_leave_it_unscored() -> None:
    content = "Hello you."
    heard = hear(content, render_plain)
    tokens = list(heard[0].prompt_logprobs or ())
    for changed, reason in (
        ((99, -1.0), "different tokens"),
        ((tokens[-1][0], -9999.0), "token 2 of the response is impossible"),  # type: ignore[index]
    ):
        other = ChatResult("r", "x", prompt_logprobs=(*tokens[:-1], changed))
        said = [other, *heard[1:]]
        row = make_implicit_row(make_item(content), MODEL, BASE, heard, said)
        assert not row["valid"] and reason in row["reason"]
