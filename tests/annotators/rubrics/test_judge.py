"""The rubric judge: gates, intent without the responses, criteria, and scores in both orders."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from annotators.asking import Unreadable
from annotators.rubrics.forms import make_scores_schema, read_criteria, read_scores
from annotators.rubrics.judge import RubricJudge, load_rubric_templates
from annotators.rubrics.rubric import Criterion, Rubric, load_rubrics
from annotators.talk import Item
from engines.chat import ChatRequest, ChatResult
from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import new_run
from tests.annotators.judging import MODEL, hold, make_item, show

TEMPLATES = load_rubric_templates()
RUBRIC = Rubric(
    "small",
    3,
    ("*",),
    (
        Criterion("Not blank", "It says something.", "hard", "not_empty", 0.0),
        Criterion("Length", "It keeps the limit.", "important", "length"),
        Criterion("True", "What it says is so.", "hard"),
        Criterion("Kind", "It is friendly.", "core"),
    ),
)
WRITTEN = [
    {"title": f"Point {n}", "description": "d", "kind": kind}
    for n, kind in enumerate(["hard", "core", "core", "important", "highlight"])
]
ITEM = make_item("the good answer", "the bad answer", prompt="What now?")


def make_judge(**settings: Any) -> RubricJudge:
    return RubricJudge(MODEL, TEMPLATES, (RUBRIC,), **settings)


def is_about(request: ChatRequest, step: str) -> bool:
    properties = (request.json_schema or {}).get("properties", {})
    found = "criteria" if "criteria" in properties else "scores" if properties else "intent"
    return found == step


def say(*scores: int, favours: str = "good") -> Callable[[ChatRequest], str]:
    """A model that likes the response with a word in it, wherever that is shown."""

    def answer(request: ChatRequest) -> str:
        if is_about(request, "intent"):
            return " Wants to know what to do. "
        if is_about(request, "criteria"):
            return json.dumps({"criteria": WRITTEN})
        first = show(request).split("[Answer A]")[1].split("[Answer B]")[0]
        sign = 1 if favours in first else -1
        numbered = enumerate(scores, start=1)
        return json.dumps({str(n): {"evidence": f"e{n}", "score": sign * s} for n, s in numbered})

    return answer


def side(item: Item, word: str) -> int:
    """1 where response_a has the word, -1 where response_b has it."""
    return 1 if word in item.contents[0] else -1


@pytest.mark.parametrize("adapt", [False, True])
def test_a_judge_that_knows_what_it_likes_says_the_same_in_both_orders(adapt: bool) -> None:
    scores = (0, 1, -1, 2, 1) if adapt else (0, 1)
    rows, asked = hold(make_judge(adapt=adapt), ITEM, say(*scores))
    whole = {row["order"]: row for row in rows if row["criterion"] is None}
    assert set(whole) == {"ab", "ba"}
    p_a = whole["ab"]["p_a"]
    assert p_a == whole["ba"]["p_a"] and (p_a > 0.5) == (side(ITEM, "good") > 0)
    mean = (5 - 5 + 2 * 2 + 1) / 13 if adapt else 1.0
    assert p_a == pytest.approx(1 / (1 + math.exp(-mean * side(ITEM, "good"))))
    assert len(asked) == (4 if adapt else 2)
    titles = [entry["title"] for entry in WRITTEN] if adapt else ["True", "Kind"]
    for order in ("ab", "ba"):
        named = [row for row in rows if row["order"] == order and row["criterion"]]
        assert [row["criterion"] for row in named] == titles
        assert [row["score"] for row in named] == [side(ITEM, "good") * s for s in scores]
        assert [row["critique"] for row in named] == [f"e{n + 1}" for n in range(len(scores))]


def test_the_rows_keep_the_contract_of_judgments() -> None:
    rows, _ = hold(make_judge(), ITEM, say(1, 1, 1, 1, 1))
    frame, rejected = validate("judgments", to_frame("judgments", rows, new_run()), "judge")
    assert rejected == [] and len(frame) == 12
    assert frame["judgment_id"].n_unique() == 12


def test_a_hard_criterion_vetoes_and_the_detail_says_so() -> None:
    rows, _ = hold(make_judge(adapt=False), ITEM, say(-1, 2))
    (ab, _) = (row for row in rows if row["criterion"] is None)
    detail = json.loads(ab["detail"])
    sign = side(ITEM, "good")
    assert detail["veto_by"] == ["True"] and detail["score"] == -sign
    assert (detail["mean_all"], detail["mean_nonzero"]) == (2 * sign, 2 * sign)
    assert (ab["p_a"] > 0.5) == (sign < 0)
    assert (detail["rubric"], detail["version"], detail["hash"]) == ("small", 3, RUBRIC.hash)
    assert detail["intent"] is None and detail["criteria"] is None


def test_the_intent_is_read_without_the_responses_and_used_afterwards() -> None:
    rows, asked = hold(make_judge(), ITEM, say(0, 0, 0, 0, 0))
    intent, criteria, *scores = (show(request) for request in asked)
    assert "What now?" in intent and "answer" not in intent.split("[Request]")[1].split("[Task]")[0]
    assert not any(content in intent for content in ITEM.contents)
    for text in (criteria, *scores):
        assert "Wants to know what to do." in text
        assert all(content in text for content in ITEM.contents)
    assert "Kind (core): It is friendly." in criteria  # the rubric is a reference
    assert "Length (" not in criteria  # what a gate decides is not asked
    assert all("Kind" not in text and "Point 4" in text for text in scores)
    whole = [json.loads(row["detail"]) for row in rows if row["criterion"] is None]
    assert all(detail["intent"] == "Wants to know what to do." for detail in whole)
    assert all(detail["criteria"] == WRITTEN for detail in whole)
    assert all(row["tie"] and row["p_a"] == 0.5 for row in rows if row["criterion"] is None)
    assert not any(str(row["score"]).startswith("-") for row in rows)


def find_common(texts: list[str]) -> str:
    """What all texts begin with."""
    first = min(texts, key=len)
    same = (all(text[i] == ch for text in texts) for i, ch in enumerate(first))
    return first[: next((i for i, one in enumerate(same) if not one), len(first))]


@pytest.mark.parametrize("answer", [None, "the known answer"])
def test_what_requests_share_comes_first(answer: str | None) -> None:
    """So that a server with a prefix cache computes it once."""
    long = ITEM.contents[0] + " and more" * 50, ITEM.contents[1] + " or less" * 50
    item = make_item(*long, prompt="What now?" * 50, answer=answer)
    _, asked = hold(make_judge(), item, say(0, 0, 0, 0, 0))
    intent, criteria, ab, ba = (show(request) for request in asked)
    head = ab.index("[Criteria]")
    assert find_common([criteria, ab])[:head] == ab[:head]
    assert all(content in ab[:head] for content in item.contents)
    assert "What now?" * 50 in find_common([intent, criteria, ab, ba])
    assert "Wants to know" in find_common([ab, ba])
    assert (answer is None) == ("Reference" not in ab)


def test_criteria_that_hold_for_all_pairs_stand_before_them() -> None:
    _, asked = hold(make_judge(adapt=False), ITEM, say(0, 0))
    _, others = hold(make_judge(adapt=False), make_item("x", "y", prompt="Else?"), say(0, 0))
    shared = find_common([show(request) for request in [*asked, *others]])
    assert shared.endswith("[Request]\n")
    assert "2. " in shared.split("[Criteria]")[1]


def test_both_orders_show_the_responses_their_own_way_round() -> None:
    _, asked = hold(make_judge(adapt=False), ITEM, say(0, 0))
    shown = [show(request) for request in asked]
    first = [text.index(ITEM.contents[0]) < text.index(ITEM.contents[1]) for text in shown]
    assert first == [True, False]
    assert len({request.request_id for request in asked}) == 2


@pytest.mark.parametrize("adapt", [False, True])
def test_tokens_are_counted_once(adapt: bool) -> None:
    scores = (1,) * (5 if adapt else 2)
    rows, asked = hold(make_judge(adapt=adapt), ITEM, say(*scores))
    assert sum(row["tokens_in"] for row in rows) == 10 * len(asked)
    assert sum(row["tokens_out"] for row in rows) == 2 * len(asked)


def test_gates_are_rows_without_an_order_and_count_in_the_whole() -> None:
    item = make_item("a b", "a b c d e", prompt="At most three words!")
    rows, _ = hold(make_judge(adapt=False), item, say(0, 0, favours="a"))
    (gate,) = (row for row in rows if row["order"] is None)
    assert (gate["criterion"], gate["score"]) == (
        "Length",
        2.0 if item.contents[0] == "a b" else -2.0,
    )
    assert (gate["request_id"], gate["raw"], gate["tokens_in"]) == (None, None, 0)
    (whole, _) = (row for row in rows if row["criterion"] is None)
    long = "ab"[item.contents[1] == "a b c d e"]
    assert list(json.loads(whole["detail"])["failed"][long]) == ["length"]
    assert (whole["p_a"] > 0.5) == (item.contents[0] == "a b")


@pytest.mark.parametrize(
    ("contents", "answer", "gate"),
    [(("Answer: 4", "Answer: 5"), "4", "reference"), (("Four.", "  "), None, "not_empty")],
)
def test_where_a_gate_decides_no_model_is_asked(
    contents: tuple[str, str], answer: str | None, gate: str
) -> None:
    item = make_item(*contents, answer=answer)
    rows, asked = hold(make_judge(), item, lambda _: pytest.fail("asked"))
    assert len(rows) == 1 and asked == []
    (row,) = rows
    assert row["p_a"] == float(item.contents[0] == contents[0])
    assert (row["valid"], row["order"], row["request_id"]) == (True, None, None)
    assert json.loads(row["detail"])["gate"] == gate


@pytest.mark.parametrize("step", ["intent", "criteria", "scores"])
def test_a_step_that_fails_leaves_invalid_rows_with_the_reason(step: str) -> None:
    good = say(1, 1, 1, 1, 1)

    def fail(request: ChatRequest) -> ChatResult | str:
        broken = is_about(request, step)
        return ChatResult(request.request_id, error="timeout") if broken else good(request)

    rows, _ = hold(make_judge(), ITEM, fail)
    assert [row["order"] for row in rows] == ["ab", "ba"]
    for row in rows:
        assert (row["valid"], row["p_a"], row["score"]) == (False, None, None)
        assert row["reason"] == "call failed: timeout"
    assert len({row["judgment_id"] for row in rows}) == 2


def test_an_answer_that_cannot_be_read_is_mended_once() -> None:
    good = say(1, 1)

    def stumble(request: ChatRequest) -> str:
        first = len(request.messages) == 1
        return '{"1": {"evidence": "", "score": 3}, "2": 0}' if first else good(request)

    rows, asked = hold(make_judge(adapt=False), ITEM, stumble)
    assert len(asked) == 4 and all(row["valid"] for row in rows)
    assert "criterion 1 has no score from -2 to 2 but 3" in asked[2].messages[-1]["content"]

    rows, asked = hold(make_judge(adapt=False, orders="ab"), ITEM, lambda _: "both are fine")
    assert len(asked) == 2 and len(rows) == 1
    assert not rows[0]["valid"] and "no JSON" in rows[0]["reason"]
    assert (rows[0]["raw"], rows[0]["tokens_in"]) == ("both are fine", 20)


def test_an_empty_intent_is_no_ground_to_judge_on() -> None:
    rows, _ = hold(make_judge(), ITEM, lambda _: " ")
    assert [row["reason"] for row in rows] == ["the intent is empty"] * 2


def test_the_rubric_of_the_category_is_the_reference() -> None:
    judge = replace(make_judge(adapt=False), rubrics=load_rubrics())
    rows, asked = hold(judge, replace(ITEM, category="coding"), say(*[0] * 7))
    assert json.loads(rows[-1]["detail"])["rubric"] == "coding"
    assert "Would run" in show(asked[0])


def test_a_rubric_alone_holds_for_every_category() -> None:
    judge = replace(make_judge(adapt=False), rubrics=(replace(RUBRIC, categories=("coding",)),))
    rows, asked = hold(judge, replace(ITEM, category="advice"), say(0, 1))
    assert len(asked) == 2 and all(row["valid"] for row in rows)
    assert json.loads(rows[-1]["detail"])["rubric"] == "small"


def test_whatever_changes_the_verdicts_is_another_annotator() -> None:
    judge = make_judge()
    judges = [
        judge,
        make_judge(adapt=False),
        make_judge(orders="ab"),
        make_judge(most=9),
        replace(judge, rubrics=(replace(RUBRIC, version=4),)),
        replace(judge, rubrics=(RUBRIC, *load_rubrics())),
        replace(judge, templates=replace(TEMPLATES, scores=TEMPLATES.scores + "!")),
        replace(judge, model=replace(MODEL, revision="r2")),
    ]
    assert len({one.annotator for one in judges}) == len(judges)
    assert judge.annotator.startswith("rubric-small-v3:stub@r1:")
    assert json.loads(json.dumps(judge.specification)) == judge.specification
    assert judge.specification["rubrics"][0]["hash"] == RUBRIC.hash


CRITERIA = RUBRIC.asked


@pytest.mark.parametrize(
    "text",
    [
        '{"1": {"evidence": "e", "score": 1}, "2": {"score": -2}}',
        'Sure:\n```json\n{"1": {"score": 1}, "2": {"score": "-2"}}\n```',
        '{"True": 1, "Kind": -2}',
        '[{"score": "+1"}, {"score": -2.0}]',
        '{"scores": {"1": 1, "2": -2}}',
        '{"scores": [{"score": 1}, {"score": -2}]}',
        '{"1": {"score": 1}, "2": {"score": -2}}\nScale: [-2, -1, 0, 1, 2]',
        'On the scale [-2, 2], see [1]: {"1": {"score": 1}, "2": {"score": -2}} [2]',
    ],
)
def test_scores_are_read_from_what_models_write(text: str) -> None:
    assert [score for score, _ in read_scores(text, CRITERIA)] == [1.0, -2.0]


@pytest.mark.parametrize(
    "text",
    [
        "A is better",
        '{"1": 1}',
        '{"1": 1, "2": null}',
        '{"1": 1, "2": true}',
        '{"1": 1, "2": 0.5}',
        '{"1": 1, "2": "A"}',
        '[{"score": 1}]',
        '[{"score": 1}, {"score": -2}, {"score": 0}]',
        "[-2, -1]",
        '{"scores": [1, -2]}',
        '{"1": {"score": 1}, "2": {"sco... Scale: [-2, 2]',
        '{"1": 1, "2": {"evidence": "fine"}}',
    ],
)
def test_a_missing_score_is_never_made_up(text: str) -> None:
    with pytest.raises(Unreadable):
        read_scores(text, CRITERIA)


def test_a_footnote_is_no_score() -> None:
    one = CRITERIA[:1]
    assert read_scores('{"1": {"score": -2}} [1]', one) == ((-2.0, ""),)
    with pytest.raises(Unreadable, match="not one object for each of 1 criteria"):
        read_scores("B is better [1]", one)


def test_written_criteria_must_be_distinct_and_enough() -> None:
    text = json.dumps({"criteria": [*WRITTEN, {**WRITTEN[0], "title": "POINT 0"}]})
    assert [c.title for c in read_criteria(text, 5, 15)] == [e["title"] for e in WRITTEN]
    with pytest.raises(Unreadable, match="5 distinct criteria, not 6 to 15"):
        read_criteria(text, 6, 15)
    with pytest.raises(Unreadable, match="4 distinct"):
        read_criteria(text, 5, 15, taken=[Criterion("point 3", "d", "core")])
    for entry, why in [
        ({"title": "x", "description": "d"}, "kind"),
        ({**WRITTEN[0], "title": ""}, "say something"),
        ("just words", "object"),
    ]:
        with pytest.raises(Unreadable, match=why):
            read_criteria(json.dumps([*WRITTEN, entry]), 5, 15)


def test_a_server_without_structured_output_gets_no_schema() -> None:
    loose = replace(MODEL, spec=MODEL.spec.model_copy(update={"structured": False}))
    judge = replace(make_judge(adapt=False), model=loose)
    _, asked = hold(judge, ITEM, lambda _: '{"1": 0, "2": 0}')
    assert all(request.json_schema is None for request in asked)
    assert list(make_scores_schema(2)["properties"]) == ["1", "2"]
