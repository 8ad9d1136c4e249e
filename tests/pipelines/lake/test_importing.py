"""Importing pools: what rows become, resumption, revisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotators.gold import select_gold
from pipelines.lake import importing
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.importing import import_pool
from pipelines.lake.layouts import (
    read_row,
)
from pipelines.lake.readers import ImportFailed
from pipelines.lake.run import new_run
from schemas.ids import make_prompt_id, make_response_id
from schemas.sourcing import ImportSource
from tests.pipelines.lake.pools import (
    EXAMPLES,
    FINEGRAINED,
    HH,
    TABLES,
    TRL,
    USER,
    bring,
    count,
    record,
    write_jsonl,
)


def dump(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """Everything imported, without run ids and times."""
    return {
        table: sorted(
            lake.query(f"SELECT * EXCLUDE (run_id, created_at) FROM {table}").rows(), key=repr
        )
        for table in TABLES
    }


def test_unknown_and_wrong_layouts_name_the_mend(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", TRL)
    with pytest.raises(ImportFailed, match="did you mean 'pandalm'"):
        bring(lake, file, layout="panda-lm")
    with pytest.raises(ImportFailed, match="not of the layout 'pandalm'"):
        bring(lake, file, layout="pandalm")
    assert bring(lake, file, layout="trl").kept == 1


def test_a_relative_path_is_taken_from_the_base_folder(lake: Lake, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", TRL)
    source = ImportSource(path="p.jsonl", name="pool")
    assert import_pool(lake, new_run(), source, tmp_path).kept == 1


def test_what_a_row_becomes(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", TRL)
    summary = bring(lake, file, licence="MIT")
    prompt_id = make_prompt_id([USER])
    good, bad = (make_response_id(prompt_id, text) for text in ("Because.", "No."))
    file_hash = summary.extra["file_hash"]
    prompt = lake.query("FROM prompts").row(0, named=True)
    assert prompt["prompt_id"] == prompt_id
    assert prompt["origin_id"] == f"pool:{file_hash}:0"
    assert [prompt[key] for key in ("source", "licence", "category", "language")] == [
        "pool",
        "MIT",
        "imported",
        None,
    ]
    rollouts = lake.query("FROM rollouts")
    assert set(rollouts["policy"]) == {"import:pool"}
    assert set(rollouts["response_id"]) == {good, bad}
    judgment = lake.query("FROM judgments").row(0, named=True)
    assert (judgment["annotator"], judgment["kind"]) == ("import:pool", "import")
    assert (judgment["response_a"], judgment["response_b"]) == (min(good, bad), max(good, bad))
    assert judgment["p_a"] == (1.0 if good < bad else 0.0)
    done = lake.query("FROM imports").row(0, named=True)
    assert (done["outcome"], done["licence"], done["judgments"]) == ("kept", "MIT", 1)
    assert done["prompt_id"] == prompt_id


@pytest.mark.parametrize("layout", EXAMPLES)
def test_p_a_speaks_of_the_smaller_id_in_every_layout(
    lake: Lake, tmp_path: Path, layout: str
) -> None:
    """Told by the texts: whoever is said to be better must be the one the row says."""
    read = read_row(layout, EXAMPLES[layout])
    expected = {
        (c.annotator_suffix, *sorted((read.responses[c.i], read.responses[c.j]))): (
            c.p_first
            if c.p_first is None or read.responses[c.i] < read.responses[c.j]
            else 1 - c.p_first
        )
        for c in read.comparisons
    }
    bring(lake, write_jsonl(tmp_path / "p.jsonl", EXAMPLES[layout]))
    found = {}
    for annotator, a, b, p_a, valid in lake.query(
        "SELECT annotator, a.content, b.content, p_a, valid FROM judgments "
        "JOIN responses a ON response_a = a.response_id "
        "JOIN responses b ON response_b = b.response_id"
    ).iter_rows():
        suffix = annotator.removeprefix("import:pool").removeprefix("/")
        found[suffix, *sorted((a, b))] = p_a if a < b or p_a is None else 1 - p_a
        assert valid == (p_a is not None)
    assert found == expected


def test_category_comes_from_the_source_then_the_row(lake: Lake, tmp_path: Path) -> None:
    rows = [{**TRL, "category": "maths"}, {**TRL, "prompt": "How?"}]
    bring(lake, write_jsonl(tmp_path / "a.jsonl", *rows), name="a")
    bring(
        lake,
        write_jsonl(tmp_path / "b.jsonl", {**rows[0], "prompt": "Who?"}),
        name="b",
        category="all",
    )
    categories = dict(lake.query("SELECT messages[1].content, category FROM prompts").iter_rows())
    assert categories == {"Why?": "maths", "How?": "imported", "Who?": "all"}


def test_every_row_is_accounted_for_with_its_outcome(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "p.jsonl",
        TRL,
        b"{broken",
        {**TRL, "chosen": True},
        {**TRL, "rejected": "Because."},
        TRL,
        {"prompt": "Why?", "chosen": "No.", "rejected": "Because."},
        {**TRL, "rejected": "Perhaps."},
    )
    summary = bring(lake, file)
    assert summary.rows_in == 7
    assert summary.kept == 2
    assert summary.dropped == {"identical_responses": 1, "duplicate": 2}
    assert summary.quarantined == {"not JSON": 1, "chosen is a boolean, not text": 1}
    assert lake.query("SELECT outcome FROM imports ORDER BY row")["outcome"].to_list() == [
        "kept",
        "quarantined",
        "quarantined",
        "dropped",
        "duplicate",
        "duplicate",
        "kept",
    ]
    bad = lake.query("SELECT position, reason, row FROM quarantine ORDER BY position").rows()
    assert bad[0] == ("1", "not JSON", "{broken\n")
    assert json.loads(bad[1][2]) == {**TRL, "chosen": True}
    # the exact repeat says nothing twice, the mirrored row is another opinion on the same pair
    assert count(lake, "judgments") == 3
    assert (
        lake.query("SELECT count(DISTINCT (response_a, response_b)) n FROM judgments")["n"][0] == 2
    )


def test_identical_answers_of_a_group_cost_their_comparison_only(
    lake: Lake, tmp_path: Path
) -> None:
    row = {**FINEGRAINED, "prediction 2": "a", "preference": [0, 1, 1, 2, 1, 1]}
    summary = bring(lake, write_jsonl(tmp_path / "p.jsonl", row))
    assert (summary.kept, summary.dropped["identical_responses"]) == (1, 0)
    done = lake.query("FROM imports").row(0, named=True)
    assert done["reason"] == "identical responses in 1 of its comparisons"
    # (1,3) and (2,3) are one pair now, on which the row says two things
    assert len(done["pair_ids"]) == 3
    assert done["judgments"] == count(lake, "judgments") == 5
    assert count(lake, "responses") == 3


def test_importing_again_changes_nothing_and_says_the_same(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", TRL, b"{broken", TRL, {**TRL, "chosen": "No."})
    first = bring(lake, file).to_json()
    before, snapshot = dump(lake), lake.snapshot()
    second = bring(lake, file).to_json()
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    assert (dump(lake), lake.snapshot()) == (before, snapshot)


def test_a_file_imported_again_with_its_licence_has_it(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", TRL, b"{broken", {**TRL, "prompt": "How?"})
    unknown = bring(lake, file).to_json()
    before = dump(lake)
    corrected = bring(lake, file, licence="MIT")
    assert {**corrected.to_json(), "seconds": 0} == {**unknown, "seconds": 0}
    after = dump(lake)
    assert {k: v for k, v in after.items() if k != "imports"} == {
        k: v for k, v in before.items() if k != "imports"
    }
    rows = lake.query("SELECT row, revision, licence FROM imports ORDER BY ALL").rows()
    assert rows == [(n, r, ("unknown", "MIT")[r]) for n in range(3) for r in range(2)]
    bring(lake, file, licence="MIT")
    assert dump(lake) == after


@pytest.mark.parametrize("layout", EXAMPLES)
def test_a_source_declared_gold_is_the_truth_in_every_layout(
    lake: Lake, tmp_path: Path, layout: str
) -> None:
    """What its models say stays an opinion, and what could not be read is nothing."""
    bring(lake, write_jsonl(tmp_path / "p.jsonl", EXAMPLES[layout]), gold=True, layout=layout)
    rows = lake.query("SELECT kind, valid, gold FROM judgments").rows()
    assert rows
    for kind, valid, gold in rows:
        assert bool(gold) == (valid and kind != "llm")
    gold = select_gold(lake.query("SELECT * FROM judgments"))
    assert set(gold["voice"]) <= {"gold"} and len(gold) == sum(bool(row[2]) for row in rows)


def test_a_row_that_says_it_is_no_gold_is_none(lake: Lake, tmp_path: Path) -> None:
    kinds = {"a": None, "b": False, "c": True}
    file = write_jsonl(tmp_path / "p.jsonl", *(
        record(annotator=name, kind="human", gold=gold) for name, gold in kinds.items()
    ))  # fmt: skip
    bring(lake, file, gold=True)
    found = dict(lake.query("SELECT annotator, gold FROM judgments").iter_rows())
    assert found == {"import:pool/a": True, "import:pool/b": False, "import:pool/c": True}


def test_a_source_can_be_declared_gold_later_and_no_longer(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", TRL)

    def hear() -> list[bool | None]:
        said = drop_superseded(lake, lake.query("SELECT * FROM judgments"), ["pool"])
        return said["gold"].to_list()

    for gold, told in ((False, None), (True, True), (False, None)):
        summary = bring(lake, file, gold=gold)
        assert summary.kept == 1 and hear() == [told]
    settings = lake.query("SELECT DISTINCT settings FROM imports ORDER BY length(settings)")[
        "settings"
    ]
    assert [json.loads(text).get("gold") for text in settings] == [None, True]


def test_the_category_of_a_file_can_be_corrected(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", {**TRL, "category": "maths"})
    bring(lake, file)
    bring(lake, file, category="all")
    rows = lake.query("SELECT revision, category FROM imports ORDER BY ALL").rows()
    assert rows == [(0, "maths"), (1, "all")]


def test_rows_quarantined_under_a_wrong_layout_come_in_under_the_right_one(
    lake: Lake, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", HH, {**HH, "prompt": None}, {**HH, "prompt": True})
    wrong = bring(lake, file, layout="trl")
    assert (wrong.kept, sum(wrong.quarantined.values())) == (0, 3)
    right = bring(lake, file, layout="hh")
    assert (right.rows_in, right.kept, right.quarantined) == (3, 1, {})
    assert right.dropped["duplicate"] == 2
    assert right.extra["layout"] == "hh"
    assert count(lake, "judgments") == 3
    assert {**bring(lake, file).to_json(), "seconds": 0} == {**right.to_json(), "seconds": 0}


def test_a_revision_that_was_interrupted_goes_on(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_jsonl(tmp_path / "p.jsonl", *[{**TRL, "prompt": f"Why {n}?"} for n in range(4)])
    bring(lake, file)
    monkeypatch.setattr(importing, "CHUNK_ROWS", 3)
    append, calls = Lake.append, []

    def fail_on_the_second(self: Lake, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return append(self, *args, **kwargs)

    monkeypatch.setattr(Lake, "append", fail_on_the_second)
    with pytest.raises(RuntimeError, match="power cut"):
        bring(lake, file, licence="MIT")
    assert bring(lake, file, licence="MIT").kept == 4
    rows = lake.query("SELECT revision, count(*) FROM imports GROUP BY ALL ORDER BY ALL").rows()
    assert (rows, len(calls)) == ([(0, 4), (1, 4)], 3)


def test_a_longer_edition_of_a_file_adds_only_what_is_new(lake: Lake, tmp_path: Path) -> None:
    bring(lake, write_jsonl(tmp_path / "v1.jsonl", TRL))
    summary = bring(lake, write_jsonl(tmp_path / "v2.jsonl", {**TRL, "prompt": "How?"}, TRL))
    assert (summary.rows_in, summary.kept) == (2, 2)
    assert {table: count(lake, table) for table in TABLES} == {
        "prompts": 2,
        "responses": 4,
        "rollouts": 4,
        "judgments": 2,
        "quarantine": 0,
        "imports": 3,
    }


def test_an_interrupted_import_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK_ROWS", 3)
    rows = [{**TRL, "prompt": f"Why {n % 6}?"} for n in range(9)]
    file = write_jsonl(tmp_path / "p.jsonl", *rows[:5], b"{broken", *rows[5:])
    with open_lake(tmp_path / "whole") as lake:
        whole, expected = bring(lake, file), dump(lake)
    append = Lake.append
    calls = {"n": 0}

    def fail_on_the_third(self: Lake, *args: Any, **kwargs: Any) -> Any:
        calls["n"] += 1
        if calls["n"] == 3:
            raise RuntimeError("power cut")
        return append(self, *args, **kwargs)

    with open_lake(tmp_path / "cut") as lake:
        monkeypatch.setattr(Lake, "append", fail_on_the_third)
        with pytest.raises(RuntimeError, match="power cut"):
            bring(lake, file)
        assert count(lake, "imports") == 6
        resumed = bring(lake, file)
        assert calls["n"] == 5  # the two chunks that were left, and not one more
        assert {**resumed.to_json(), "seconds": 0} == {**whole.to_json(), "seconds": 0}
        assert dump(lake) == expected
    assert whole.dropped["duplicate"] == 3


def test_odd_texts_come_back_as_they_were(lake: Lake, tmp_path: Path) -> None:
    text = "nul \x00, e\u0301, \u2028, \U0001f600, trailing  "
    file = write_jsonl(tmp_path / "p.jsonl", {**TRL, "chosen": text})
    assert bring(lake, file).kept == 1
    assert text in set(lake.query("FROM responses")["content"])
