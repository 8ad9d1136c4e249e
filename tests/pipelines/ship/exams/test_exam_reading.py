"""Public benchmarks as files: every row is an item, or is counted with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.clean.evaluation_sets import EvaluationSetUnusable
from pipelines.ship.exams.reading import ExamUnusable, read_exam_set
from tests.pipelines.ship.exams import papers


def read(folder: Path, *rows: papers.Row) -> Any:
    return read_exam_set(papers.write(folder / "x.jsonl", rows))


def test_a_best_of_four_and_ties(tmp_path: Path) -> None:
    found = read(tmp_path, papers.best_of_four("7", "Math"), papers.tie("tied", 3, 2, 2))
    assert found.name == "RewardBench 2" and not found.unscored
    best, tied = found.items
    assert best.responses == ("right 7", "wrong 0 7", "wrong 1 7", "wrong 2 7")
    assert (best.right, best.kind, best.category) == ((True, False, False, False), "best", "Math")
    assert (tied.kind, tied.question, tied.part) == ("ties", "ties:3", "tied")
    assert tied.right == (True, True, False, False)


def test_styles_and_their_domains(tmp_path: Path) -> None:
    found = read(tmp_path, papers.styled("1", "safety-refuse"), papers.styled("2", "chat"))
    assert [(i.kind, i.category, i.subset) for i in found.items] == [
        ("styles", "safety", "safety-refuse"),
        ("styles", "chat", "chat"),
    ]
    assert len(found.items[0].compare()) == 9


def test_the_right_side_comes_first_whichever_it_was(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        papers.judged("a", "mmlu-pro-law", "A>B"),
        papers.judged("b", "livecodebench", "B>A"),
    )
    assert [item.responses for item in found.items] == [("one", "two"), ("two", "one")]
    assert [item.category for item in found.items] == ["Knowledge", "Coding"]
    bar = read_exam_set(
        papers.write(tmp_path / "bar.jsonl", [papers.told_apart("a", 1), papers.told_apart("b", 2)])
    )
    assert [item.responses for item in bar.items] == [("one", "two"), ("two", "one")]


def test_goals_and_forms_are_four_categories(tmp_path: Path) -> None:
    papers.write(tmp_path / "set/p.jsonl", [papers.rmb_pair("1", "Helpfulness")])
    papers.write(tmp_path / "set/b.jsonl", [papers.rmb_best("2", "Harmlessness")])
    found = read_exam_set(str(tmp_path / "set"))
    assert {(i.category, i.subset, len(i.responses)) for i in found.items} == {
        ("Helpfulness, pairs", "Chat", 2),
        ("Harmlessness, best of n", "Chat", 3),
    }


def test_ties_of_people_ask_nothing(tmp_path: Path) -> None:
    rows = [papers.preferred(str(i), w) for i, w in enumerate(("model_a", "model_b", "tie"))]
    found = read(tmp_path, *rows, papers.preferred("9", "nobody"))
    assert [item.responses[0] for item in found.items] == ["one", "two"]
    assert found.unscored == {
        "people call it a tie: no side is right": 1,
        "winner is none of model_a, model_1, model_b, model_2": 1,
    }


def test_conflict_pairs_or_all_of_them(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        papers.sampled("1", [True, False, False, True], [[1, 0], [3, 2]]),
        papers.sampled("2", [True, False, False], None),
        papers.sampled("3", [True, True], [[0, 1]]),
        papers.sampled("4", [True, False], [[0, 9]]),
    )
    assert [item.compare() for item in found.items] == [((0, 1), (3, 2)), ((0, 1), (0, 2))]
    assert found.items[0].category == "x"
    assert sum(found.unscored.values()) == 2


def test_a_folder_names_the_parts(tmp_path: Path) -> None:
    for part in ("Natural", "Adversarial/Manual"):
        file = tmp_path / "LLMBar" / part / "dataset.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps([papers.told_apart(part, 1)]))
    found = read_exam_set("LLMBar", tmp_path)
    assert {item.category for item in found.items} == {"Natural", "Adversarial/Manual"}


def test_a_repeated_row_counts_once(tmp_path: Path) -> None:
    found = read(tmp_path, papers.old("1", "hep-go"), papers.old("1", "hep-go"))
    assert (found.name, len(found.items)) == ("RewardBench", 1)
    assert found.unscored == {"an earlier row asks the same": 1}
    assert found.items[0].category == "Reasoning"


def test_one_content_is_one_exam_in_whatever_order(tmp_path: Path) -> None:
    rows = [papers.old(str(i), "hep-go") for i in range(3)]
    first, second = read(tmp_path, *rows), read(tmp_path, *rows[::-1])
    assert first.content_hash == second.content_hash
    assert read(tmp_path, *rows[:2]).content_hash != first.content_hash


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": "one text"}, "chosen is not a list of texts"),
        ({"rejected": ["a", ""]}, "rejected holds something that is no text, or an empty one"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"subset": 3}, "subset is not text"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted(
    tmp_path: Path, change: papers.Row, reason: str
) -> None:
    good, bad = papers.best_of_four("1", "Math"), papers.best_of_four("2", "Math") | change
    found = read(tmp_path, good, bad)
    assert len(found.items) == 1 and found.unscored == {reason: 1}
    with pytest.raises(ExamUnusable, match=rf"x\.jsonl: no row .*row 0 \(2\): {reason}; mend"):
        read(tmp_path, bad)


def test_what_is_no_exam_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExamUnusable, match=r"row 0 has the layout of GSM8K, which has no wrong"):
        read(tmp_path, {"question": "1 + 1?", "answer": "#### 2"})
    with pytest.raises(ExamUnusable, match=r"row 0 has no known layout \(columns prompt, x\)"):
        read(tmp_path, {"prompt": "Why?", "x": 1})
    with pytest.raises(EvaluationSetUnusable, match="no such file"):
        read_exam_set(str(tmp_path / "none.jsonl"))
    papers.write(tmp_path / "mixed/a.jsonl", [papers.old("1", "hep-go")])
    papers.write(tmp_path / "mixed/b.jsonl", [papers.styled("1", "chat")])
    with pytest.raises(ExamUnusable, match=r"several sets: RewardBench .*RM-Bench"):
        read_exam_set(str(tmp_path / "mixed"))
    with pytest.raises(ExamUnusable, match="ref:N"):
        read(tmp_path, papers.tie("odd", 1, 2, 2))
