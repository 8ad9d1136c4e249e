"""The pool that ships for the loop's recipes is what its script writes, and is as it says."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.shipped_pool import GOLD, MACHINES, make_rows, write_rows
from engines.assets import find_asset

FILES = ("everyday.jsonl.gz", "everyday_opinions.jsonl.gz")


@pytest.mark.parametrize("place", [0, 1])
def test_the_file_is_what_the_script_writes(place: int, tmp_path: Path) -> None:
    write_rows(tmp_path / "written", make_rows()[place])
    shipped = find_asset(f"pools/{FILES[place]}", None)
    texts = [gzip.decompress(file.read_bytes()) for file in (shipped, tmp_path / "written")]
    assert texts[0] == texts[1]


def test_labels_and_machines_are_as_wrong_as_it_says() -> None:
    pool, opinions = make_rows()
    truth = {
        row["prompt"]: row["p_a"] for row in pool if row.get("gold")
    }  # fmt: skip
    labels = [row for row in pool if row["annotator"] == "crowd"]
    assert len(truth) == GOLD < len(labels) == len({row["prompt"] for row in labels})
    known = [row for row in labels if row["prompt"] in truth]
    wrong = sum(row["p_a"] != truth[row["prompt"]] for row in known) / len(known)
    assert 0.15 < wrong < 0.35
    for name, _, accuracy in MACHINES:
        said = [row for row in opinions if row["annotator"] == name and row["prompt"] in truth]
        right = sum((row["p_a"] > 0.5) == truth[row["prompt"]] for row in said) / len(said)
        assert abs(right - accuracy) < 0.1
