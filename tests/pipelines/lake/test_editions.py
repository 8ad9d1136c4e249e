"""Editions of a pool: a corrected row replaces what an older file said, and nothing else goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.label.labelling import find_judgments
from pipelines.lake.catalogue import Lake, open_lake
from tests.conftest import make_recipe
from tests.pipelines.lake.pools import OPINION, PANDALM, TRL, bring, write_jsonl

SWAPPED = {**TRL, "chosen": TRL["rejected"], "rejected": TRL["chosen"]}
OTHER = {**TRL, "prompt": "How?"}
PAIR = ("response_a", "response_b")
Saying = tuple[int, str, str, int]  # prompt, annotator, verdict, sample


def counted(lake: Lake, name: str = "pool") -> pl.DataFrame:
    """The judgments that count of a pool, to a recipe that imports it."""
    recipe = make_recipe(prompts={"imports": [{"name": name, "path": "x"}]})
    pairs = lake.query("SELECT DISTINCT response_a, response_b FROM judgments")
    found = find_judgments(lake, recipe, [], pairs)
    assert found["annotator"].str.starts_with(f"import:{name}").all()
    return found


def bring_rows(lake: Lake, folder: Path, *rows: Any, name: str = "pool") -> None:
    bring(lake, write_jsonl(folder / "edition.jsonl", *rows), name=name)


def test_a_corrected_label_replaces_the_old_one_and_may_be_corrected_back(
    lake: Lake, tmp_path: Path
) -> None:
    bring_rows(lake, tmp_path, TRL)
    before = counted(lake)
    bring_rows(lake, tmp_path, SWAPPED)
    assert lake.query("SELECT count(*) AS n FROM judgments")["n"][0] == 2  # both are kept
    after = counted(lake)
    assert after["p_a"].to_list() == [1 - before["p_a"][0]]
    bring_rows(lake, tmp_path, TRL, OTHER)
    back = counted(lake)
    assert back.join(before, on=PAIR, how="semi")["judgment_id"].to_list() == list(
        before["judgment_id"]
    )


def test_what_the_newest_edition_does_not_speak_of_stays(lake: Lake, tmp_path: Path) -> None:
    bring_rows(lake, tmp_path, TRL, OTHER)
    before = counted(lake)
    bring_rows(lake, tmp_path, SWAPPED)
    bring_rows(lake, tmp_path, SWAPPED, name="elsewhere")  # another pool corrects nothing here
    after = counted(lake)
    assert len(before) == len(after) == 2
    assert len(after.join(before, on="judgment_id", how="semi")) == 1


def test_the_same_file_read_under_another_layout_is_an_edition_too(
    lake: Lake, tmp_path: Path
) -> None:
    both = {**PANDALM, "prompt": "Rewrite.\n\nA text.", "chosen": "Two.", "rejected": "One."}
    file = write_jsonl(tmp_path / "both.jsonl", both)
    bring(lake, file, layout="pandalm")
    people = counted(lake)
    assert len(people) == 5
    bring(lake, file, layout="trl")
    assert len(counted(lake)) == 6  # the pool's own label is another annotator's
    bring(lake, file, layout="pandalm", licence="MIT")
    assert len(counted(lake)) == 6


def test_what_was_imported_before_editions_knew_their_judgments_can_be_corrected(
    lake: Lake, tmp_path: Path
) -> None:
    bring_rows(lake, tmp_path, TRL, OTHER)
    before = counted(lake)
    lake._cursor().execute("UPDATE imports SET judgment_ids = NULL")
    assert counted(lake).equals(before)
    bring_rows(lake, tmp_path, SWAPPED)
    after = counted(lake)
    assert sorted(after["p_a"]) != sorted(before["p_a"]) and len(after) == 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("shared") / "lake") as opened:
        yield opened


names = (f"pool{number}" for number in itertools.count())
sayings = st.tuples(
    st.integers(0, 1), st.sampled_from("xy"), st.sampled_from(["A", "B", "tie"]), st.integers(0, 1)
)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(sayings, min_size=1, max_size=5, unique=True), min_size=1, max_size=4))
def test_of_each_annotator_and_pair_the_newest_edition_that_speaks_of_it_counts(
    shared: Lake, tmp_path_factory: pytest.TempPathFactory, editions: list[list[Saying]]
) -> None:
    folder, name = tmp_path_factory.mktemp("pool"), next(names)
    expected: dict[tuple[int, str], set[tuple[str, int]]] = {}
    for number, said in enumerate(editions):
        own = {**OPINION, "prompt": f"the only row of edition {number}"}
        rows = [
            {**OPINION, "prompt": f"question {prompt}", "annotator": who, "verdict": verdict,
             "sample_index": sample}
            for prompt, who, verdict, sample in said
        ]  # fmt: skip
        bring_rows(shared, folder, own, *rows, name=name)
        for key in {(prompt, who) for prompt, who, _, _ in said}:
            expected[key] = {(v, s) for prompt, who, v, s in said if (prompt, who) == key}
    rows_of = counted(shared, name).join(
        shared.query(
            "SELECT DISTINCT j.prompt_id, messages[1].content AS prompt, j.response_a, "
            "r.content = 'Because.' AS straight FROM judgments j JOIN prompts USING (prompt_id) "
            "JOIN responses r ON r.response_id = j.response_a"
        ),
        on=["prompt_id", "response_a"],
    )
    found: dict[tuple[int, str], set[tuple[str, int]]] = {}
    for row in rows_of.iter_rows(named=True):
        if row["prompt"].startswith("question"):
            better = row["p_a"] if row["straight"] else 1 - row["p_a"]
            key = (int(row["prompt"].split()[1]), row["annotator"].split("/")[1])
            verdict = {1.0: "A", 0.0: "B", 0.5: "tie"}[better]
            found.setdefault(key, set()).add((verdict, row["sample_index"]))
    assert found == expected
