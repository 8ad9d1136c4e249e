"""The labelling configs, the tasks made for them, and the guidelines on every page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from annotators.desk.client import DeskRefused
from annotators.desk.projects import read_controls, read_interface
from annotators.desk.questions import (
    QUESTIONS,
    SHARED_KEYS,
    make_task,
    render_config,
    seal_task,
    split_steps,
)
from annotators.guidelines import read_guideline, read_guidelines
from annotators.rubrics.rubric import Criterion, load_rubrics
from engines.assets import find_asset

COUNTS = {"preference": 2, "correctness": 1, "spans": 1, "first_wrong_step": 1, "ranking": 4}
WEIRD = Criterion('Says "why" & <more>, $5', "It costs $x, or not: 'quoted' <b>.", "core")


def make(question: str, *responses: str, **changes: Any) -> dict[str, Any]:
    given = {"prompt": "What is 2 + 2?", "guideline": "Be right.", **changes}
    return make_task(question, "r1", responses=responses, **given)


def make_any(question: str) -> dict[str, Any]:
    return make(question, *[f"response {i}" for i in range(COUNTS[question])])


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_config_is_valid_and_shows_only_what_its_task_holds(question: str) -> None:
    config = render_config(question)
    interface = read_interface(config, question)
    keys = {*SHARED_KEYS, *QUESTIONS[question].keys}
    shown = set(re.findall(r'(?:value|on)="\$(\w+)', config))
    assert shown <= keys == set(make_any(question))
    assert {"guideline", "prompt"} <= shown and not shown & {"review_id", "question", "seal"}
    assert {"tools", "comment"} <= {control.name for control in interface.controls}
    assert {o.tag for o in interface.objects} == {"Text"}, "nothing is shown as HTML or Markdown"


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_key_means_two_things(question: str) -> None:
    rubric = next(r for r in load_rubrics() if r.name == "coding")
    config = render_config(question, rubric.criteria if question == "preference" else ())
    keys = [node.get("hotkey") for node in ElementTree.fromstring(config).iter()]
    if question == "first_wrong_step":
        keys += [step.get("hotkey") for step in make(question, "x\n" * 12)["steps"]]
    keys = [key for key in keys if key]
    assert len(keys) == len(set(keys)) >= 5


def test_no_rating_is_left_for_the_interface_to_give_a_key() -> None:
    rubric = next(r for r in load_rubrics() if r.name == "advice")
    config = ElementTree.fromstring(render_config("preference", rubric.criteria))
    rows = [
        [choice.get("hotkey") for choice in control.iter("Choice")]
        for control in config.iter("Choices")
        if control.get("name", "").startswith("criterion:")
    ]
    assert len(rows) == 7 and rows[:2] == [[*"qwert"], [*"asdfg"]]
    assert rows[3] == ["shift+q", "shift+w", "shift+e", "shift+r", "shift+t"]
    assert all(key.startswith("ctrl+alt+shift+") for key in rows[6])
    told = [node.get("value", "") for node in config.iter("Header")]
    assert sum("[shift + qwert]" in text for text in told) == 1
    assert sum("[shift + " in text for text in told) == 3


def test_criteria_are_rated_one_by_one_but_not_those_that_a_check_decides() -> None:
    checked = Criterion("Says something", "Not blank.", "hard", check="not_empty")
    controls = read_controls(render_config("preference", [WEIRD, checked]), "it")
    rated = {name: said for name, said in controls.items() if name.startswith("criterion:")}
    assert rated == {f"criterion:{WEIRD.title}": ("Choices", "-1", "-2", "0", "1", "2")}
    shown = ElementTree.fromstring(render_config("preference", [WEIRD])).iter("Header")
    texts = [node.get("value", "").replace("\u2060", "") for node in shown]
    assert WEIRD.title in texts and WEIRD.description in texts
    with pytest.raises(DeskRefused, match="ratings"):
        render_config("spans", [WEIRD])


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(DeskRefused, match="use one of preference, correctness"):
        render_config("beauty")


@pytest.mark.parametrize(("question", "n"), [("preference", 1), ("spans", 2), ("ranking", 1)])
def test_a_task_of_another_number_of_responses_is_refused(question: str, n: int) -> None:
    with pytest.raises(DeskRefused, match=f"r1 has {n} responses"):
        make(question, *"ab"[:n])


@given(st.sampled_from(sorted(QUESTIONS)), st.data())
def test_a_changed_text_breaks_the_seal(question: str, data: st.DataObject) -> None:
    task = make_any(question)
    assert task["seal"] == seal_task(task)
    key = data.draw(st.sampled_from(sorted(set(task) - {"seal"})))
    assert task["seal"] != seal_task({**task, key: data.draw(st.text())})


@given(st.text(alphabet=st.sampled_from("ab$ \n\r\t"), max_size=60) | st.text(max_size=60))
def test_steps_hold_the_whole_response(response: str) -> None:
    steps = split_steps(response)
    assert steps and "".join("".join(steps).split()) == "".join(response.split())
    assert all(step.strip() for step in steps) or steps == [""]


def test_steps_are_paragraphs_or_else_lines() -> None:
    assert split_steps("one\nline\n\n  two\n \t\nthree\n") == ["one\nline", "  two", "three"]
    assert split_steps("one\r\n\r\ntwo") == ["one", "two"]
    assert split_steps("one\n  two\nthree") == ["one", "  two", "three"]
    assert split_steps(" \n") == split_steps("") == [""]


def test_a_step_is_no_variable_of_the_interface() -> None:
    """It would show `$5` as "undefined", and `$response` as the whole response."""
    shown = [step["value"] for step in make("first_wrong_step", "costs $5 or $response")["steps"]]
    assert not any(re.search(r"\$[\w\[\].{}]", text) for text in shown)
    assert shown[-1].replace("\u2060", "") == "1.  costs $5 or $response"


def test_marks_that_turn_the_direction_are_told() -> None:
    assert make("preference", "a", "b")["guideline"] == "Be right."
    warned = make("preference", "a", "b \u202ec")["guideline"].splitlines()
    assert "U+202E right-to-left override" in warned[0] and warned[1:] == ["Be right."]


def test_every_category_has_a_guideline_of_its_own() -> None:
    from pipelines.make.families import FAMILIES

    open_ones = yaml.safe_load(find_asset("taxonomies/open.yaml").read_text("utf-8"))
    of_families = {category for category, _ in FAMILIES.values()}
    of_rubrics = {category for rubric in load_rubrics() for category in rubric.categories}
    guidelines = read_guidelines()
    assert {*open_ones, *of_families, *of_rubrics} == set(guidelines)
    texts = [read_guideline(category) for category in guidelines]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert len(text.splitlines()) == 1 and 80 < len(text) < 330, text
    assert read_guideline("no such category") == guidelines["*"]
