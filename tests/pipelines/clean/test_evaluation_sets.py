"""Evaluation sets as people have them: known by their columns, whatever the file they are in."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.clean.evaluation_sets import (
    EvaluationSetUnusable,
    detect_layout,
    read_evaluation_set,
)

TURNS = [{"role": "user", "content": "Why?", "language": "English"}]
ANSWER = {"llm_name": "m", "answer": "So.", "score": 1.0}
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "HumanEval": (
        {"task_id": "HumanEval/0", "prompt": "Why?", "canonical_solution": "", "entry_point": "f"},
        "HumanEval/0",
    ),
    "IFEval": (
        {"key": 1000, "prompt": "Why?", "instruction_id_list": ["a:b"], "kwargs": [{}]},
        "1000",
    ),
    "JudgeBench": (
        {"pair_id": "81ec", "original_id": "7", "source": "mmlu", "question": "Why?",
         "response_model": "m", "response_A": "a", "response_B": "b", "label": "A>B"},
        "81ec",
    ),
    "RMB": (
        {"pair_uid": "11", "conversation_input": TURNS, "chosen": ANSWER, "reject": ANSWER,
         "category_path": "Pairwise_set/x"},
        "11",
    ),
    "RMB of n": (
        {"bon_uid": "23", "conversation_input": TURNS, "bon_best": ANSWER, "loser_list": [ANSWER],
         "category_path": "BoN_set/x"},
        "23",
    ),
    "RewardBench 2": (
        {"id": "9", "prompt": "Why?", "chosen": ["a"], "rejected": ["b", "c", "d"],
         "num_correct": 1, "num_incorrect": 3, "subset": "Math"},
        "9",
    ),
    "RM-Bench": (
        {"id": "7", "prompt": "Why?", "chosen": ["a"] * 3, "rejected": ["b"] * 3, "domain": "chat"},
        "7",
    ),
    "RewardBench": (
        {"id": 30, "prompt": "Why?", "chosen": "a", "rejected": "b", "subset": "alpacaeval-easy"},
        "30",
    ),
    "PPE": (
        {"question_id": "q1", "prompt": "Why?", "response_1": "a", "response_2": "b",
         "winner": "model_a"},
        "q1",
    ),
    "LLMBar": ({"input": "Why?", "output_1": "a", "output_2": "b", "label": 1}, "0"),
    "MATH": (
        {"problem": "Why?", "level": "Level 5", "type": "Algebra", "solution": "So."},
        "0",
    ),
    "MATH 500": (
        {"problem": "Why?", "solution": "So.", "answer": "1", "subject": "Algebra", "level": 2,
         "unique_id": "test/algebra/1.json"},
        "test/algebra/1.json",
    ),
    "AlpacaEval": (
        {"dataset": "koala", "instruction": "Why?", "output": "So.", "generator": "m"},
        "0",
    ),
    "GSM8K": ({"question": "Why?", "answer": "So.\n#### 3"}, "0"),
}  # fmt: skip
NAMES = {"RMB of n": "RMB", "MATH 500": "MATH"}


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.mark.parametrize("layout", ROWS)
def test_each_public_layout_is_known_by_its_columns(layout: str, tmp_path: Path) -> None:
    row, key = ROWS[layout]
    found = read_evaluation_set(write(tmp_path / "test-00000-of-00001.jsonl", [row]))
    assert (found.name, found.keys, found.texts) == (NAMES.get(layout, layout), (key,), ("Why?",))
    assert not found.unread


@pytest.mark.parametrize("layout", ROWS)
def test_no_layout_takes_the_rows_of_another(layout: str) -> None:
    assert detect_layout(ROWS[layout][0], "x").name == NAMES.get(layout, layout)


@pytest.mark.parametrize("column", ["prompt", "question", "instruction", "problem"])
def test_another_file_is_read_by_its_plain_column(column: str, tmp_path: Path) -> None:
    found = read_evaluation_set(write(tmp_path / "mine.jsonl", [{column: "Why?", "x": 1}]))
    assert (found.name, found.keys, found.texts) == ("mine", ("0",), ("Why?",))


def test_an_instruction_is_asked_with_its_input(tmp_path: Path) -> None:
    rows = [{"instruction": "Sum up.", "input": "A text."}, {"instruction": "Why?", "input": ""}]
    assert read_evaluation_set(write(tmp_path / "a.jsonl", rows)).texts == (
        "Sum up.\n\nA text.",
        "Why?",
    )


def test_one_content_is_one_set_whatever_file_holds_it(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}?", "answer": f"#### {i}"} for i in range(3)]
    plain = Path(write(tmp_path / "a.jsonl", rows))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    (tmp_path / "e.json").write_text(json.dumps(columns))
    pl.DataFrame(rows).write_parquet(tmp_path / "f.parquet")
    with (tmp_path / "g.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "h.csv.gz").write_bytes(gzip.compress((tmp_path / "g.csv").read_bytes()))
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk(str(tmp_path / "i"))
    found = {read_evaluation_set(str(file)).content_hash for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 9 and len(found) == 1
    assert read_evaluation_set("c.json", tmp_path).texts == tuple(r["question"] for r in rows)
    changed = [{**rows[0], "question": "Else?"}, *rows[1:]]
    assert read_evaluation_set(write(tmp_path / "j.jsonl", changed)).content_hash not in found


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    import os

    file = tmp_path / "a.jsonl"
    first = read_evaluation_set(write(file, [{"prompt": "One?"}]))
    write(file, [{"prompt": "Two?"}])
    os.utime(file, ns=(1, 1))
    assert first.texts == ("One?",) and read_evaluation_set(str(file)).texts == ("Two?",)


def test_a_folder_of_files_names_each_row_by_its_file(tmp_path: Path) -> None:
    row = ROWS["RMB"][0]
    (tmp_path / "Pairwise_set").mkdir()
    (tmp_path / "Pairwise_set" / "S1.json").write_text(json.dumps([row, row]))
    (tmp_path / "S2.json").write_text(json.dumps(ROWS["RMB of n"][0]))
    (tmp_path / "README.md").write_text("not a set")
    found = read_evaluation_set(str(tmp_path))
    assert (found.name, found.keys) == (
        "RMB",
        ("Pairwise_set/S1:11", "Pairwise_set/S1:11", "S2:23"),
    )


def test_rows_without_a_prompt_are_counted_and_cost_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = [
        '{"prompt": "Why?"}',
        "{",
        '{"prompt": ""}',
        '{"prompt": null}',
        '{"other": 1}',
        '{"prompt": [{"role": "user", "content": "How?"}]}',
        '{"prompt": "\\ud800"}',
    ]
    file.write_text("\n".join(lines))
    found = read_evaluation_set(str(file))
    assert (found.keys, found.texts) == (("0", "5"), ("Why?", "How?"))
    assert sum(found.unread.values()) == 5
    assert found.unread["prompt is empty"] == 1
    assert found.unread["prompt is neither text nor a list of messages"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "Why?", "n": 1}\n', "no column of prompts among text, n; rename"),
        ("a.jsonl", "", "the file is empty"),
        ("a.jsonl", '{"prompt": ""}\n', "holds no prompt (prompt is empty: 1 rows)"),
        ("a.json", "[]", "holds no prompt; give another file"),
        ("a.json", '{"prompt": "a"}\n{"prompt": "b"}\n', "is named .jsonl"),
        ("a.json", '"Why?"', "neither a list of rows nor a row"),
        ("a.txt", "Why?", "unknown kind of file"),
        ("a.parquet", "Why?", "not a whole Parquet file"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_mend(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationSetUnusable) as raised:
        read_evaluation_set(str(tmp_path / name))
    assert message in str(raised.value) and name in str(raised.value)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationSetUnusable, match="no such file"):
        read_evaluation_set(str(tmp_path / "none.jsonl"))
    with pytest.raises(EvaluationSetUnusable, match=r"holds no \.parquet"):
        read_evaluation_set(str(tmp_path))
