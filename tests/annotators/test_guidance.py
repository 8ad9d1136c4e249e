"""Guidance: gold as a judge sees it, within its budget, in the question and in the rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.generative import GenerativeJudge
from annotators.guidance import (
    CHARS_A_TOKEN,
    Example,
    Guide,
    cut_examples,
    fits,
    make_example,
    make_guidance,
    show_attributes,
)
from annotators.guidelines import read_guideline, read_guidelines
from annotators.pairwise import PairwiseJudge
from annotators.talk import Judge
from annotators.templates import load_template
from annotators.yes_prob import YesProbJudge
from engines.assets import find_asset
from tests.annotators.judging import MODEL, hold, make_item, show

TEMPLATE = load_template(find_asset("judges/guidance.jinja"), ("guideline", "about"), examples=[])
GUIDE = Guide(TEMPLATE, read_guidelines(), examples=3, tokens=200)
ROW = {"task_category": "advice", "objectivity": "subjective", "controversiality": "medium",
       "desired_attributes": ["kind", "short"], "guideline": "Prefer the kind one.",
       "difference": "length: A: long B: short"}  # fmt: skip
ITEM = make_item("one", "two", category="advice")
texts = st.text(min_size=1, max_size=40)


@given(texts, st.tuples(texts, texts).filter(lambda two: two[0] != two[1]),
       st.sampled_from([0.0, 1.0]))  # fmt: skip
def test_the_verdict_names_the_candidate_that_gold_prefers(
    prompt: str, contents: tuple[str, str], p_a: float
) -> None:
    item = make_item(*contents, prompt=prompt)
    example, other = make_example(item, p_a, None), make_example(item, 1 - p_a, None)
    better = item.contents[0 if p_a == 1 else 1]
    worse = item.contents[1 if p_a == 1 else 0]
    first, second = "Candidate 1:\n{}\nCandidate 2:\n{}", "Verdict: Candidate {} is better."
    ways = [
        f"{first.format(better, worse)}\n{second.format(1)}",
        f"{first.format(worse, better)}\n{second.format(2)}",
    ]
    assert sum(example.text.endswith(way) for way in ways) == 1
    assert example.pair_id == other.pair_id == item.target
    assert example.text[:-20] == other.text[:-20], "the order does not tell the verdict"


def test_either_response_may_come_first() -> None:
    items = [make_item("one", "two", prompt=str(i)) for i in range(40)]
    verdicts = {make_example(item, 1.0, None).text[-20:] for item in items}
    assert len(verdicts) == 2
    assert make_example(ITEM, 0.5, None).text.endswith("Verdict: Neither is better.")


@given(st.lists(st.integers(1, 1500)), st.integers(0, 8), st.integers(64, 400))
def test_the_least_similar_are_left_out_until_all_fit(
    sizes: list[int], most: int, tokens: int
) -> None:
    guide = replace(GUIDE, examples=most, tokens=tokens)
    given_ = [Example(str(place), "x" * size) for place, size in enumerate(sizes)]
    kept = cut_examples(given_, guide)
    room = tokens * CHARS_A_TOKEN
    assert kept == given_[: len(kept)] and len(kept) <= most
    assert sum(len(one.text) for one in kept) <= room
    if len(kept) < min(most, len(given_)):
        assert sum(len(one.text) for one in given_[: len(kept) + 1]) > room
    assert all(fits(one, guide) == (len(one.text) <= room) for one in given_)


def test_what_is_said_of_a_request_is_in_its_guidance_but_not_who_wrote_what() -> None:
    text = make_guidance(GUIDE, ITEM, ROW, []).text
    for part in ("subjective", "medium", "kind, short", "Prefer the kind one.", "advice"):
        assert part in text, part
    assert read_guideline("advice") in text and "A: long" not in text and "[Examples]" not in text
    bare = make_guidance(GUIDE, replace(ITEM, category="unheard-of"), None, [])
    assert read_guideline("*") in bare.text and "[About" not in bare.text
    assert show_attributes(None) == "" == show_attributes({})


def make_judges(guide: Guide | None) -> list[Judge]:
    others: dict[str, Any] = {"reference": None, "guidance": None}
    ask = {**others, "reason": False}
    made = [
        (PairwiseJudge, "pairwise", ("prompt", "first", "second"), ask),
        (YesProbJudge, "yes_prob", ("prompt", "candidate", "opponent"), {**ask, "criteria": None}),
        (GenerativeJudge, "generative", ("prompt", "responses"),
         {**others, "count": 2, "structured": True}),
    ]  # fmt: skip
    return [
        kind(MODEL, load_template(find_asset(f"judges/{name}.jinja"), shows, **known), guide=guide)  # type: ignore[operator]
        for kind, name, shows, known in made
    ]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["pairwise", "yes_prob", "generative"])
def test_a_guided_judge_shows_its_guidance_before_the_request_and_notes_it(place: int) -> None:
    answers = ("A", "Yes", json.dumps({"principles": [], "critiques": [], "scores": [5, 6]}))
    judge, bare = make_judges(GUIDE)[place], make_judges(None)[place]
    example = make_example(make_item("left", "right", prompt="Another?"), 1.0, ROW)
    guidance = make_guidance(GUIDE, ITEM, ROW, [example])
    guided = replace(ITEM, guidance=guidance)
    rows, asked = hold(judge, guided, lambda _: answers[place])
    for text in map(show, asked):
        before, _, after = text.partition("\n[Request]\n")
        assert guidance.text in before and "Which?" in after and "left" not in after
    assert rows and all(row["valid"] for row in rows)
    for detail in (json.loads(row["detail"]) for row in rows):
        assert detail["examples"] == [example.pair_id]
        assert (detail["of"], detail["guidance"]) == (ITEM.target, guidance.hash)
    plain, unguided = hold(bare, ITEM, lambda _: answers[place])
    assert not any("[Guideline" in show(request) for request in unguided)
    assert not any("guidance" in (row["detail"] or "") for row in plain)
    names = {r.request_id for r in asked} | {r.request_id for r in unguided}
    assert len(names) == len(asked) + len(unguided)


def test_whatever_changes_the_guidance_is_another_annotator() -> None:
    guides = [
        None, GUIDE, replace(GUIDE, examples=2), replace(GUIDE, tokens=100),
        replace(GUIDE, writer="attributes:m"), replace(GUIDE, template=TEMPLATE + "."),
        replace(GUIDE, guidelines={"*": "Other."}), replace(GUIDE, embedder="other"),
        replace(GUIDE, examples=0),
    ]  # fmt: skip
    assert len({make_judges(guide)[0].annotator for guide in guides}) == len(guides)
