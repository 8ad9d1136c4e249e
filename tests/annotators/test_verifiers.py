"""Verifiers: right answers pass, wrong ones do not, and a broken scorer stops nothing."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
from collections.abc import Iterator

import psutil
import pytest

from annotators.answers import find_answer, holds_answer
from annotators.rubrics.reference import _scorer
from annotators.scorer import UNDECIDED
from annotators.verifiers import Check, Verdict, verify_responses
from pipelines.make.families import Task, make_task

BECAUSE = "The answer is 158 euros, since 3 times 4 is 12."
RIGHT = Check("math_verify", json.dumps({"answer": "42"}), "It is \\boxed{42}")


def check(task: Task, content: str) -> Check:
    return Check(task.verifier, task.entry, content)


@pytest.fixture(autouse=True)
def _no_other_scorer() -> None:
    """Ends the scoring process that judges of other tests share, with what would restart it."""
    _scorer.cache_clear()
    gc.collect()
    assert find_scorers() == []


def find_scorers() -> list[psutil.Process]:
    """The scoring processes of this one that are alive."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "annotators.scorer" in child.cmdline()
    ]


def test_right_and_wrong_answers_and_a_scorer_that_raises() -> None:
    gcd = make_task("gcd", "easy", 0, 1)
    spell = make_task("spell_backward", "medium", 0, 1)
    primes = make_task("prime_factorization", "easy", 0, 1)
    cases = [
        (check(gcd, f"Let me see.\nThe answer is {gcd.answer}."), 1.0),
        (check(gcd, f"The answer is {int(gcd.answer) + 1}."), 0.0),
        (check(spell, f"<answer>{spell.answer}</answer>"), 1.0),
        (check(primes, primes.answer), 1.0),
        (Check("math_verify", json.dumps({"answer": "0.5"}), "So it is $\\frac{1}{2}$."), 1.0),
        (Check("math_verify", json.dumps({"answer": "0.5"}), "So it is 0.25."), 0.0),
        (check(gcd, f"The GCD is {gcd.answer}."), 1.0),
        (Check("math_verify", json.dumps({"answer": "158"}), BECAUSE), 1.0),
        (Check("math_verify", json.dumps({"answer": "12"}), BECAUSE), None),
        (Check("math_verify", json.dumps({"answer": "3"}), f"<answer>7</answer>, {BECAUSE}"), None),
        (Check("math_verify", json.dumps({"answer": "3"}), f"{BECAUSE} <answer>7</answer>"), 0.0),
        (Check("math_verify", json.dumps({"answer": "0.5"}), ""), 0.0),
        (check(primes, "blah"), None),
        (Check("no_such_verifier", "{}", "42"), None),
        (Check("reasoning_gym:no_such_family", "{}", "42"), None),
        (Check("math_verify", "not json", "42"), None),
        (RIGHT, 1.0),
    ]
    verdicts = list(verify_responses(case for case, _ in cases))
    assert [verdict.score for verdict in verdicts] == [score for _, score in cases]
    reasons = [verdict.reason for verdict in verdicts if verdict.score is None]
    assert reasons[0] == reasons[1] == UNDECIDED
    assert reasons[2] is not None and reasons[2].startswith("ValueError")
    assert reasons[3] == "ValueError: no verifier named no_such_verifier"
    assert all(reasons)
    assert all(verdict.reason is None for verdict in verdicts if verdict.score is not None)
    assert find_scorers() == []


def test_a_scorer_that_hangs_or_dies_leaves_its_item_unscored_and_the_next_one_scored() -> None:
    def checks() -> Iterator[Check]:
        yield RIGHT
        os.kill(find_scorers()[0].pid, signal.SIGSTOP)
        yield RIGHT  # nobody answers
        yield RIGHT
        pid = find_scorers()[0].pid
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
        yield RIGHT  # killed while it works
        yield RIGHT

    verdicts = list(verify_responses(checks(), item_seconds=3.0))
    assert [verdict.score for verdict in verdicts] == [1.0, None, 1.0, None, 1.0]
    assert verdicts[1].reason == "the scorer timed out"
    assert verdicts[3].reason == "the scorer died (-9)"
    assert verdicts[3].seconds < 3.0 <= verdicts[1].seconds


def test_a_scorer_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "s3cret")
    verdicts: Iterator[Verdict] = verify_responses([RIGHT, RIGHT])
    assert next(verdicts).score == 1.0
    (scorer,) = find_scorers()
    assert "SOME_API_KEY" not in scorer.environ()
    verdicts.close()  # type: ignore[attr-defined]
    assert find_scorers() == []


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("", ""),
        ("  42 \n", "42"),
        ("<answer>1</answer> no: <ANSWER>\n 2\n</ANSWER>", "2"),
        ("\\boxed{7} but <answer>8</answer>", "8"),
        ("so \\boxed{1} then \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("The answer is 3.\nWait, the final answer is: **5**.", "5"),
        ("Answer: $12$", "12"),
        ("**Answer:** Paris", "Paris"),
        ("**Final answer**: 2 + 3", "2 + 3"),
        ("The answer is\n\n42", "42"),
        ("The answer isn't 5.\n6", "6"),
        ("First I add.\nThen I halve.\n\n19.\n", "19"),
        ("never closed \\boxed{12", "never closed \\boxed{12"),
        ("one line, no statement", "one line, no statement"),
        ("3.", "3"),
        ("**3**.", "3"),
        ("`3`", "3"),
        ("<answer>3.</answer>", "3"),
        ("The result is 3.", "3"),
        ("The GCD is 3.", "3"),
        ("So it is 12.", "12"),
        ("Thus, the solution is: 2 + 3", "2 + 3"),
        ("The word they use is not spelt here.\nIt is here.\nabc", "abc"),
    ],
)
def test_the_final_answer_is_found(content: str, answer: str) -> None:
    assert find_answer(content) == answer


@pytest.mark.parametrize(
    ("content", "answer", "held"),
    [
        ("3", "3", True),
        ("I get 3, or so", "3", True),
        ("13 30 3.5 0.3 3rd x3 -3", "3", False),
        ("5-3 = 2", "3", True),
        ("1,000.0 grams", "1000", True),
        ("It's TUESDAY!", "Tuesday", True),
        ("Notes", "no", False),
        ("apple banana and cherry", "apple, banana", True),
        ("banana, apple", "apple, banana", False),
        ("3 of them. <answer>4</answer>", "3", False),
        ("<answer>4</answer> sorry, 3", "3", True),
        ("3 of them: \\boxed{4}", "3", False),
        ("", "3", False),
        ("anything", "?", False),
    ],
)
def test_a_response_holds_an_answer_as_whole_words_from_its_last_marked_answer_on(
    content: str, answer: str, held: bool
) -> None:
    assert holds_answer(content, answer) is held
