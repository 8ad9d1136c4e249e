"""Task families: every one generates at every difficulty, and its reference answer is right."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.answers import holds_answer
from annotators.scorer import UNDECIDED, score_item
from pipelines.make.families import (
    DIFFICULTIES,
    FAMILIES,
    PROBLEMS,
    FamilyUnknown,
    Task,
    choose_families,
    make_arithmetic,
    make_task,
)
from pipelines.make.synthesis import list_slots
from tests.conftest import make_recipe


def score(task: Task, content: str) -> float:
    return score_item({"verifier": task.verifier, "entry": task.entry, "content": content})


SAYINGS = (
    "{}", "{}.", "**{}**", "<answer>{}</answer>", "<answer>{}.</answer>", "The answer is {}.",
    "The result is {}.", "The answer is: **{}**.", "Let me think.\nSo the final answer is {}.",
)  # fmt: skip


def make_any(family: str, difficulty: str, index: int) -> Task:
    if family == "arithmetic":
        return make_arithmetic(index, seed=7)
    return make_task(family, difficulty, index, seed=7)


def list_numbers(answer: str) -> list[str]:
    """Fractions are written in several ways."""
    return re.findall(r"\d+", answer)


@pytest.mark.parametrize("family", [*FAMILIES, "arithmetic"])
@settings(deadline=None, max_examples=25)
@given(
    difficulty=st.sampled_from(DIFFICULTIES),
    index=st.integers(0, 200),
    other=st.integers(0, 200),
    saying=st.sampled_from(SAYINGS),
)
def test_the_reference_is_right_however_it_is_said_and_another_answer_is_wrong(
    family: str, difficulty: str, index: int, other: int, saying: str
) -> None:
    task = make_any(family, difficulty, index)
    assert score(task, saying.format(task.answer)) == 1.0
    wrong = make_any(family, difficulty, other).answer
    same = family == "fraction_simplification" and list_numbers(wrong) == list_numbers(task.answer)
    if not same and not holds_answer(wrong, task.answer):
        assert 0.0 <= score(task, saying.format(wrong)) < 0.999


@pytest.mark.parametrize("saying", SAYINGS)
def test_an_answer_that_is_a_sentence_is_right(saying: str) -> None:
    task = make_any("caesar_cipher", "hard", 94)
    assert task.answer.startswith("THE BUSINESS OFFICE IS LOCATED")
    assert score(task, saying.format(task.answer)) == 1.0


@pytest.mark.parametrize("family", [*FAMILIES, "arithmetic"])
def test_the_reference_amid_other_text_is_neither_right_nor_wrong(family: str) -> None:
    task = make_any(family, "medium", 1)
    for content in (f"I get {task.answer} out of it, or 987654?", f"{task.answer} and then some"):
        try:
            said: float | str = score(task, content)
        except Exception as error:
            said = str(error)
        # the scorer of this one raises on words
        assert said in (1.0, UNDECIDED) or family == "prime_factorization"


@pytest.mark.parametrize(
    ("family", "entry", "content"),
    [
        ("time_intervals",
         {"answer": "10:00:07", "metadata": {"task_type": "time_seconds"}}, "10:00:08"),
        ("spell_backward", {"answer": "abcdef"}, "abcdefg"),
        ("spell_backward", {"answer": "abcdefghi"}, "abcdefghij"),
    ],
)  # fmt: skip
def test_a_near_miss_is_not_right(family: str, entry: dict[str, object], content: str) -> None:
    """Some scorers give a near miss more than 0.9999, or a hair more than 1."""
    item = {"verifier": f"reasoning_gym:{family}", "entry": json.dumps(entry), "content": content}
    assert 0.5 < score_item(item) < 0.999


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_tasks_whose_reference_answer_is_right(
    family: str, difficulty: str
) -> None:
    tasks = [make_task(family, difficulty, index, seed=5) for index in range(3)]
    for index, task in enumerate(tasks):
        assert task == make_task(family, difficulty, index, seed=5)
        assert (task.family, task.difficulty) == (family, difficulty)
        assert task.category == FAMILIES[family][0]
        assert task.question.strip() and task.answer.strip()
        assert json.loads(task.entry)["question"] == task.question
        assert score(task, task.answer) == 1.0
        assert score(task, f"<answer>{task.answer}</answer>") == 1.0
        if family != "prime_factorization":  # whose scorer raises on words
            assert score(task, "<answer>I would rather not say</answer>") < 0.999
    assert len({task.question for task in tasks}) > 1


def test_another_seed_and_another_index_are_other_tasks() -> None:
    tasks = [make_task("products", "hard", index, seed) for index in range(4) for seed in range(4)]
    assert len({task.question for task in tasks}) == 16


def test_harder_is_longer() -> None:
    """The three settings of a family are not one: sorting more words takes a longer question."""
    lengths = [
        sum(len(make_task("word_sorting", difficulty, i, 0).answer) for i in range(5))
        for difficulty in DIFFICULTIES
    ]
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize("index", range(4 * len(PROBLEMS)))
def test_word_problems_have_right_answers(index: int) -> None:
    task = make_arithmetic(index, seed=index)
    assert task == make_arithmetic(index, seed=index)
    assert score(task, f"The answer is \\boxed{{{task.answer}}}.") == 1.0
    assert score(task, f"It comes to {task.answer}") == 1.0
    assert score(task, f"The answer is {float(task.answer) + 1:g}.") == 0.0


def test_an_unknown_family_is_named_beside_the_known_ones() -> None:
    assert choose_families("all") == list(FAMILIES)
    assert choose_families(["gcd"]) == choose_families(["gcd", "gcd"]) == ["gcd"]
    with pytest.raises(FamilyUnknown, match=r"names gdc; known: chain_sum, .*gcd"):
        choose_families(["gcd", "gdc"])


def test_a_bigger_recipe_keeps_the_slots_of_the_smaller_one() -> None:
    def list_ids(**sources: object) -> list[str]:
        slots = list_slots(make_recipe("http://localhost/v1", prompts=sources))
        return [slot.request_id for slot in slots]

    small = list_ids(verifiable={"families": ["gcd"], "per_cell": 2}, arithmetic={"count": 3})
    assert len(set(small)) == len(small) == 3 * 2 + 3
    big = list_ids(verifiable={"families": "all", "per_cell": 3}, arithmetic={"count": 5})
    assert set(small) < set(big)
    assert len(set(big)) == len(big) == len(FAMILIES) * 3 * 3 + 5
