"""Chains of steps as an exam: read from a file, and seen as a whole, by the worst step, and as a
judge has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.ship.exams.items import Chain, Item
from pipelines.ship.exams.probing import list_texts
from pipelines.ship.exams.reading import ExamUnusable, read_exam_set
from pipelines.ship.exams.views import score_views
from tests.pipelines.ship.exams import papers


def chain(steps: Sequence[str], **known: Any) -> dict[str, Any]:
    return {"steps": list(steps), **known}


def asked(key: str, *chains: dict[str, Any], **known: Any) -> papers.Row:
    return {"id": key, "prompt": f"Ask {key}?", "chains": list(chains), "domain": "law", **known}


def read(folder: Path, *rows: papers.Row) -> Any:
    return read_exam_set(papers.write(folder / "steps.jsonl", rows))


def count_good(items: Sequence[Item]) -> list[np.ndarray]:
    """A reward: how often a text says good less how often bad."""
    return [
        np.array([float(text.count("good") - text.count("bad")) for text in item.responses])
        for item in items
    ]


def test_a_chain_is_right_by_its_answer_or_else_by_its_steps(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        asked("1", chain(["a", "b"], answer="7", labels=[1, -1]), chain(["c"], answer="8"),
              answer=7),
        asked("2", chain(["a", "b", "c"], labels=[1, -1]), chain(["d"], labels=[1])),
    )  # fmt: skip
    assert found.name == "Steps" and not found.unscored
    first, second = found.items
    assert (first.right, second.right) == ((True, False), (False, True))
    assert first.responses == ("a\n\nb", "c") and first.category == "law"
    assert second.chains[0] == Chain(("a", "b", "c"), (True, False, False))
    assert second.compare() == ((1, 0),)
    assert list_texts([first]) == ["a\n\nb", "c", "a", "a\n\nb", "c"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (asked("1", chain(["a"]), chain(["b"])), "neither labels nor an answer"),
        (asked("1", chain(["a"], labels=[0]), chain(["b"])), "other than 1 and -1"),
        (asked("1", chain(["a"], labels=[True]), chain(["b"])), "other than 1 and -1"),
        (asked("1", chain(["a", "b"], labels=[1])), "ends before the steps do"),
        (asked("1", chain(["a"], labels=[1, 1])), "more than one a step"),
        (asked("1", chain(["a"], labels=[1]), chain(["b"], labels=[1])), "all chains are right"),
        (asked("1", chain([], labels=[1])), "steps is not a list"),
        (asked("1", chain(["a"], labels=[1], judged=[1.5])), "no number from 0 to 1"),
        (asked("1"), "chains is not a list"),
    ],
)
def test_a_row_that_cannot_be_scored_says_why(tmp_path: Path, row: papers.Row, reason: str) -> None:
    with pytest.raises(ExamUnusable, match=reason):
        read(tmp_path, row)


def test_views_differ_where_a_step_is_bad(tmp_path: Path) -> None:
    """The wrong chain ends well after a bad step: its whole looks good, its worst step does not."""
    right = chain(["fine", "good"], labels=[1, 1], answer="7", judged=[0.9, 0.7])
    wrong = chain(["bad", "good good", "good"], labels=[-1], answer="8", judged=[0.8, 0.6])
    other = chain(["fine", "good good"], labels=[1, -1], answer="8", judged=[0.4])
    rows = [asked(str(at), right, wrong, other, answer="7") for at in range(12)]
    items = read(tmp_path, *rows).items
    found = score_views(items, count_good(items), count_good, seed=0)
    views = found["views"]
    assert set(views) == {"outcome", "process", "generative"}
    assert views["outcome"]["pairs"]["score"] == 0 and views["outcome"]["best_of"]["score"] == 0
    assert views["process"]["pairs"]["score"] == pytest.approx(0.75)  # a tie with `other`
    assert views["process"]["best_of"]["score"] == pytest.approx(0.5)
    assert views["generative"]["pairs"]["score"] == views["generative"]["best_of"]["score"] == 1
    assert views["generative"]["vote"]["score"] == 0  # 0.8 for 7, 0.7 and 0.4 for 8
    assert found["any"]["score"] == pytest.approx(1 / 3) and found["torn"] == 0
    assert sum(row["n"] for row in views["process"]["deciles"]) == 24
    low, high = views["process"]["pairs"]["ci"]
    assert low <= 0.75 <= high


def test_all_chains_of_all_items_are_asked_about_at_once(tmp_path: Path) -> None:
    """However many chains an item has, each gets its own worst step."""
    right = chain(["good", "good good"], labels=[1, 1])
    wrong = chain(["fine", "bad", "good"], labels=[1, -1])
    rows = [asked(str(at), right, *[wrong] * (1 + at % 3)) for at in range(12)]
    items = read(tmp_path, *rows).items
    calls = []

    def count(asked_of: Sequence[Item]) -> list[np.ndarray]:
        calls.append(len(asked_of))
        return count_good(asked_of)

    found = score_views(items, count_good(items), count, seed=0)
    assert calls == [sum(len(item.chains) for item in items)]
    assert found["views"]["process"]["pairs"]["score"] == 1


def test_a_step_whose_reward_is_no_number_is_no_worst_step(tmp_path: Path) -> None:
    right = chain(["good", "good good"], labels=[1, 1])
    items = read(tmp_path, asked("1", right, chain(["bad"], labels=[-1]))).items

    def blank(asked_of: Sequence[Item]) -> list[np.ndarray]:
        return [np.where(values == 1, np.nan, values) for values in count_good(asked_of)]

    found = score_views(items, count_good(items), blank, seed=0)
    assert set(found["views"]) == {"outcome"} and found["views"]["outcome"]["pairs"]["score"] == 1


def test_what_is_not_there_is_not_told(tmp_path: Path) -> None:
    good = chain(["good"], labels=[1])
    items = read(tmp_path, asked("1", good, chain(["bad"], labels=[-1], judged=[0.1]))).items
    found = score_views(items, count_good(items), count_good, seed=0)
    assert set(found["views"]) == {"outcome", "process"}
    assert found["views"]["outcome"]["vote"] is None
    assert found["views"]["outcome"]["best_of"]["score"] == 1


def test_answers_and_steps_that_disagree_are_counted(tmp_path: Path) -> None:
    lucky = chain(["bad"], labels=[-1], answer="7")
    careful = chain(["good"], labels=[1], answer="8")
    items = read(tmp_path, asked("1", lucky, careful, answer="7")).items
    assert score_views(items, count_good(items), count_good, seed=0)["torn"] == 2
