"""Failures: pointed questions, a probability for each sub-class, and counts with their trust."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest

from annotators.rubrics.taxonomy import (
    COUNTS,
    Failure,
    FailureChecker,
    FailureClass,
    Taxonomy,
    TaxonomyError,
    count_failures,
    load_failure_template,
    load_taxonomy,
)
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import new_run
from tests.annotators.judging import MODEL, hold, make_item, show

SMALL = Taxonomy(
    "small",
    1,
    (
        FailureClass("facts", "d", (Failure("false", "It is wrong.", ("Wrong?", "Made up?")),)),
        FailureClass("form", "d", (Failure("long", "Too long.", ("Long?",)),
                                   Failure("rude", "Too rude.", ("Rude?",)))),
    ),
)  # fmt: skip
CHECKER = FailureChecker(MODEL, load_failure_template(), SMALL)
ITEM = make_item("the only answer", prompt="Which?")
YES = {"Wrong?": 0.1, "Made up?": 0.7, "Long?": 0.4, "Rude?": 0.05}


def answer(request: ChatRequest) -> ChatResult | str:
    (p,) = (p for question, p in YES.items() if question in show(request))
    logprobs = {"Yes": math.log(p), "No": math.log(1 - p)}
    text = "Yes" if p > 0.5 else "No"
    return ChatResult(request.request_id, text, tokens_in=10, tokens_out=1, first_logprobs=logprobs)


def test_a_sub_class_is_as_likely_as_its_likeliest_question() -> None:
    rows, asked = hold(CHECKER, ITEM, answer)
    assert {row["criterion"]: round(row["score"], 9) for row in rows} == {
        "false": 0.7, "long": 0.4, "rude": 0.05,
    }  # fmt: skip
    assert len(asked) == 4
    first = rows[0]
    detail = json.loads(first["detail"])
    assert detail["class"] == "facts" and detail["questions"] == pytest.approx([0.1, 0.7])
    assert (first["response_a"], first["response_b"]) == (ITEM.response_ids[0], None)
    assert sum(row["tokens_in"] for row in rows) == 40
    _, rejected = validate("judgments", to_frame("judgments", rows, new_run()), "judge")
    assert rejected == []


def test_all_questions_go_out_at_once_and_share_what_comes_before_them() -> None:
    rounds = []
    talk = CHECKER.talk(make_item("the only answer" * 30, answer="known"))
    rounds.append(next(talk))
    assert len(rounds[0]) == 4
    texts = [show(request) for request in rounds[0]]
    head = texts[0][: texts[0].index("[Failure to look for]")]
    assert "known" in head and all(text.startswith(head) for text in texts)


def test_a_question_without_an_answer_leaves_its_sub_class_unscored() -> None:
    def falter(request: ChatRequest) -> ChatResult | str:
        return "perhaps" if "Made up?" in show(request) else answer(request)

    rows, asked = hold(CHECKER, ITEM, falter)
    assert [row["valid"] for row in rows] == [False, True, True]
    assert rows[0]["score"] is None and "none of Yes, No" in rows[0]["reason"]
    assert len(asked) == 5 and rows[0]["tokens_in"] == 30
    rows, _ = hold(CHECKER, ITEM, lambda r: ChatResult(r.request_id, error="http_500"))
    assert {row["reason"] for row in rows} == {"call failed: http_500"}


@pytest.mark.parametrize("lost", ["Wrong?", "Made up?"])
def test_a_check_that_lost_one_of_its_calls_is_another_row_once_that_is_made_again(
    lost: str,
) -> None:
    """Else the lake, which keeps a row by its id, would keep the one that is not valid."""

    def fail(request: ChatRequest) -> ChatResult | str:
        broken = lost in show(request)
        return ChatResult(request.request_id, error="http_500") if broken else answer(request)

    before, after = (hold(CHECKER, ITEM, said)[0][0] for said in (fail, answer))
    assert (before["valid"], after["valid"]) == (False, True)
    assert before["reason"] == "call failed: http_500"
    assert before["judgment_id"] != after["judgment_id"]
    assert hold(CHECKER, ITEM, fail)[0][0]["judgment_id"] == before["judgment_id"]


CLASS_OF = {failure.name: group.name for group, failure in SMALL}


def judged(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [("failures-small-v1:m", r, json.dumps({"class": CLASS_OF[c]}), s, s is not None)
         for r, c, s in rows],
        orient="row",
        schema={"annotator": pl.String, "response_a": pl.String, "detail": pl.String,
                "score": pl.Float64, "valid": pl.Boolean},
    )  # fmt: skip


def labelled(*rows: tuple[str, str | None]) -> pl.DataFrame:
    types = {"response_id": pl.String, "failure_class": pl.String}
    return pl.DataFrame(list(rows), schema=types, orient="row")


def test_failures_are_counted_by_class_with_precision_and_recall() -> None:
    rows = judged(
        ("r1", "false", 0.9), ("r1", "long", 0.1), ("r1", "rude", 0.8),
        ("r2", "false", 0.6), ("r2", "long", 0.5), ("r2", "rude", 0.2),
        ("r3", "false", 0.2), ("r3", "long", 0.1), ("r3", "rude", 0.1),
        ("r4", "false", None), ("r4", "long", 0.9),
    )  # fmt: skip
    others = rows.with_columns(annotator=pl.lit("pairwise:m"))
    labels = labelled(
        ("r1", "facts"), ("r1", "form"), ("r2", None), ("r3", "facts"), ("r9", "form")
    )
    facts, form = count_failures(pl.concat([rows, others]), labels).rows(named=True)
    assert (facts["failure_class"], facts["checked"], facts["found"], facts["labelled"]) == (
        "facts", 3, 2, 3,
    )  # fmt: skip
    assert facts["share"] == pytest.approx(2 / 3)
    assert (facts["precision"], facts["recall"]) == (0.5, 0.5)
    assert (form["checked"], form["found"], form["labelled"]) == (4, 3, 3)
    assert (form["precision"], form["recall"]) == (0.5, 1.0)


def test_a_share_of_nothing_is_null() -> None:
    empty = count_failures(judged())
    assert dict(empty.schema) == COUNTS and len(empty) == 0
    one = count_failures(judged(("r1", "false", 0.1)), labelled(("r1", None)))
    facts = one.row(0, named=True)
    assert (facts["share"], facts["labelled"]) == (0.0, 1)
    assert facts["precision"] is None and facts["recall"] is None
    strict = count_failures(judged(("r1", "false", 0.6)), threshold=0.7)
    assert (strict["checked"].to_list(), strict["found"].to_list()) == ([1], [0])
    rows, _ = hold(CHECKER, ITEM, answer)
    counted = count_failures(pl.DataFrame(rows, infer_schema_length=None))
    assert counted.select("annotator", "failure_class", "checked", "found").rows() == [
        (CHECKER.annotator, "facts", 1, 1), (CHECKER.annotator, "form", 1, 0),
    ]  # fmt: skip


def test_the_taxonomy_that_ships_has_five_classes_and_thirteen_sub_classes() -> None:
    taxonomy = load_taxonomy(find_asset("taxonomies/failures.yaml"))
    assert len(taxonomy.classes) == 5 and len(list(taxonomy)) == 13
    for _, failure in taxonomy:
        assert 1 <= len(failure.questions) <= 2 and failure.definition
        assert all(question.endswith("?") for question in failure.questions)
    checker = FailureChecker(MODEL, load_failure_template(), taxonomy)
    assert checker.annotator.startswith("failures-answers-v1:stub@r1:")
    assert checker.annotator != FailureChecker(MODEL, load_failure_template(), SMALL).annotator


CLASS = "classes:\n  - {name: c, definition: d, failures: [%s]}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("classes: []", "at least one with a failure"),
        (
            CLASS % "{name: f, definition: d, questions: []}",
            r"classes\.0\.failures\.0: f: questions",
        ),
        (CLASS % "{name: f, definition: d, questions: [q], weight: 1}", "weight: unknown key"),
        (CLASS % ", ".join(["{name: f, definition: d, questions: [q]}"] * 2), "two failures"),
    ],
)
def test_a_broken_taxonomy_is_named_with_its_key(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(f"name: t\nversion: 1\n{text}")
    with pytest.raises(TaxonomyError, match=why) as caught:
        load_taxonomy(file)
    assert "t.yaml" in str(caught.value)
