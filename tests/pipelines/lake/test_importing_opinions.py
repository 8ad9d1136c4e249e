"""Recorded opinions in a lake: every field kept, nothing twice, and a data set made of nothing
else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.lake import importing, layouts
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.layouts import OPINIONS
from pipelines.lake.readers import open_pool, read_rows
from pipelines.lake.run import StageSummary
from pipelines.ship.publish import read_pairs
from pipelines.steps import STEPS, Work, open_work, publish_settled, run_step
from tests.conftest import make_recipe, run_here
from tests.pipelines.lake.pools import USER, bring, count, record, write_jsonl

FULL = record(
    annotator="org/judge-1", kind="llm", p_a=0.8, order="ba", sample_index=3, gold=False,
    category="maths", criterion="clarity", critique="Clear.", raw="A, clearly", tokens_in=10,
    tokens_out=2.0, seconds=0.5, licence="CC0-1.0",
    prompt=[{"role": "system", "content": "Be brief."}, USER],
)  # fmt: skip


def bring_opinions(lake: Lake, file: Path, **source: Any) -> StageSummary:
    return bring(lake, file, layout=OPINIONS, **source)


def test_every_field_has_its_place_in_the_lake(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "o.jsonl", FULL, record(prompt="How?", gold=True))
    summary = bring_opinions(lake, file, licence="MIT")
    assert (summary.kept, summary.extra["layout"]) == (2, "judgments")
    row = lake.query("FROM judgments WHERE kind = 'llm'").row(0, named=True)
    assert row["annotator"] == "import:pool/org/judge-1"
    assert {key: row[key] for key in ("sample_index", "gold", "criterion", "critique", "raw")} == {
        key: FULL[key] for key in ("sample_index", "gold", "criterion", "critique", "raw")
    }
    assert (row["tokens_in"], row["tokens_out"], row["seconds"]) == (10, 2, 0.5)
    assert lake.query("SELECT gold FROM judgments WHERE kind = 'human'")["gold"].to_list() == [True]
    prompts = lake.query("SELECT messages, category, licence FROM prompts ORDER BY category").rows()
    assert prompts == [([{"role": "user", "content": "How?"}], "imported", "MIT"),
                       (FULL["prompt"], "maths", "CC0-1.0")]  # fmt: skip
    licences = lake.query("SELECT licence, category FROM imports ORDER BY row").rows()
    assert licences == [("CC0-1.0", "maths"), ("MIT", "imported")]
    assert set(lake.query("SELECT DISTINCT policy FROM rollouts")["policy"]) == {"import:pool"}


def test_an_answer_that_nobody_could_read_is_unscored(lake: Lake, tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "o.jsonl", record(verdict=None, raw="I cannot say.", tokens_out=4)
    )
    assert bring_opinions(lake, file).kept == 1
    row = lake.query("FROM judgments").row(0, named=True)
    assert (row["valid"], row["p_a"], row["tie"], row["reason"]) == (
        False,
        None,
        False,
        "no verdict",
    )
    assert (row["raw"], row["tokens_out"]) == ("I cannot say.", 4)


def test_every_record_is_accounted_for(lake: Lake, tmp_path: Path) -> None:
    """Many opinions on one pair are no duplicates of each other; an opinion that is there is."""
    file = write_jsonl(
        tmp_path / "o.jsonl",
        record(),
        record(annotator="bo"),
        record(sample_index=1),
        record(verdict="B"),
        b"{broken",
        record(category="other", licence="MIT", order=None),  # the first once more
        record(response_b="Because."),
        record(verdict="C"),
        dict(reversed(record().items())),  # and once more
    )
    summary = bring_opinions(lake, file)
    assert (summary.rows_in, summary.kept) == (9, 4)
    assert summary.dropped == {"identical_responses": 1, "duplicate": 2}
    assert summary.quarantined == {"not JSON": 1, "verdict is none of A, B, tie": 1}
    assert summary.extra["judgments"] == count(lake, "judgments") == 4
    assert (summary.extra["pairs"], count(lake, "prompts"), count(lake, "responses")) == (1, 1, 2)
    again = bring_opinions(lake, file)
    assert {**again.to_json(), "seconds": 0} == {**summary.to_json(), "seconds": 0}
    assert (count(lake, "judgments"), count(lake, "imports")) == (4, 9)


def test_an_interrupted_import_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An opinion of the part that was done is still a duplicate in the part that was not."""
    monkeypatch.setattr(importing, "CHUNK_ROWS", 2)
    file = write_jsonl(
        tmp_path / "o.jsonl", record(), record(annotator="bo"), record(), record(annotator="cy")
    )
    with open_lake(tmp_path / "whole") as lake:
        whole = bring_opinions(lake, file)
        expected = lake.query("SELECT row, outcome, judgments FROM imports ORDER BY row").rows()
    assert [outcome for _, outcome, _ in expected] == ["kept", "kept", "duplicate", "kept"]
    append, calls = Lake.append, []

    def fail_on_the_second(self: Lake, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return append(self, *args, **kwargs)

    with open_lake(tmp_path / "cut") as lake:
        monkeypatch.setattr(Lake, "append", fail_on_the_second)
        with pytest.raises(RuntimeError, match="power cut"):
            bring_opinions(lake, file)
        assert count(lake, "imports") == 2
        resumed = bring_opinions(lake, file)
        assert {**resumed.to_json(), "seconds": 0} == {**whole.to_json(), "seconds": 0}
        rows = lake.query("SELECT row, outcome, judgments FROM imports ORDER BY row").rows()
        assert rows == expected
        assert count(lake, "judgments") == 3


def test_a_longer_edition_of_a_file_adds_only_what_is_new(lake: Lake, tmp_path: Path) -> None:
    bring_opinions(lake, write_jsonl(tmp_path / "v1.jsonl", record()))
    longer = write_jsonl(tmp_path / "v2.jsonl", record(annotator="bo"), record(category="maths"))
    assert bring_opinions(lake, longer).kept == 2
    assert count(lake, "judgments") == 2


def test_a_table_with_a_null_for_every_absent_field_is_read_too(lake: Lake, tmp_path: Path) -> None:
    rows = [record(order="ab"), record(p_a=0.25, sample_index=2)]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "o.parquet")
    assert bring(lake, tmp_path / "o.parquet").kept == 2
    assert sorted(lake.query("SELECT sample_index FROM judgments")["sample_index"]) == [0, 2]


WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty")
PEOPLE = {"ann": 0, "bo": 7, "cy": 11}
"""Each of them is wrong about every so manieth pair (0: never), so that no majority is."""


def make_opinions(pairs: int = 30) -> list[dict[str, Any]]:
    """Three people on each pair, whose better response names its word twice."""
    rows = []
    for number in range(pairs):
        word = f"{WORDS[number % 10]}-{WORDS[(number * 3 + number // 10) % 10]}"
        good, poor = f"The {word} is a {word} of place {number}.", f"No idea about it, {number}."
        for who, (name, every) in enumerate(PEOPLE.items()):
            swapped = (number + who) % 2 == 1
            right = not every or number % every != every - 1
            rows.append(
                {
                    "annotator": name,
                    "kind": "human",
                    "prompt": f"Question {number}: what do people call a {word}, and why so?",
                    "response_a": poor if swapped else good,
                    "response_b": good if swapped else poor,
                    "verdict": "AB"[swapped == right],
                    "order": ("ab", "ba")[number % 2],
                    "category": ("places", "words")[number % 2],
                    "licence": "CC0-1.0",
                }
            )
    return rows


def run_all(work: Work) -> list[StageSummary]:
    return [run_step(work, step) for step in STEPS]


def test_a_data_set_of_recorded_opinions_alone(tmp_path: Path) -> None:
    """Import, label and publish by a recipe that names nothing but the file."""
    rows = make_opinions()
    write_jsonl(tmp_path / "talk.jsonl", *rows, {**rows[0], "verdict": "?"})
    source = {"path": "talk.jsonl", "name": "talk", "layout": "judgments"}
    recipe = make_recipe(
        prompts={"imports": [source]}, rollouts=[], judges=[], label={"policy": "imported"},
        clean={"near_duplicate_similarity": 1.0},
    )  # fmt: skip
    with open_work(str(tmp_path / "lake"), recipe, tmp_path) as work:
        stages = {summary.stage: summary for summary in run_all(work)}
        imported, labelled = stages["import"], stages["label"]
        assert (imported.rows_in, imported.kept) == (91, 90)
        assert imported.quarantined == {"verdict is none of A, B, tie": 1}
        assert (labelled.rows_in, labelled.to_review) == (30, 0)
        published = publish_settled(work, list(stages.values()))
        pairs = read_pairs(work.lake, published)
        texts = dict(work.lake.query("SELECT response_id, content FROM responses").iter_rows())
    assert published.rows == len(pairs) == 30
    assert all(texts[chosen].startswith("The ") for chosen in pairs["chosen_id"])
    assert all(texts[rejected].startswith("No idea") for rejected in pairs["rejected_id"])
    assert dict(pairs["category"].value_counts().iter_rows()) == {"places": 15, "words": 15}
    assert set(pairs["licence"]) == {"CC0-1.0"} and set(pairs["decided_by"]) == {"import"}
    names = {f"import:talk/{name}" for name in PEOPLE}
    assert all(set(who) == names for who in pairs["annotators"])
    split = sum(
        any(n % every == every - 1 for every in PEOPLE.values() if every) for n in range(30)
    )
    assert int((pairs["agreement"] < 1).sum()) == split > 0


def test_the_command_line_imports_and_the_recipe_finds_it_done(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "talk.v1.jsonl", *make_opinions(8))
    lake = tmp_path / "lake"
    done = run_here("import", "--judgments", file, "--lake", lake, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["kept"], row["pairs"], row["source"]) == (24, 8, "talk.v1")
    source = {"path": str(file), "name": "talk.v1", "layout": "judgments"}
    recipe = make_recipe(
        prompts={"imports": [source]}, rollouts=[], judges=[], label={"policy": "imported"},
        clean={"near_duplicate_similarity": 1.0},
    )  # fmt: skip
    with open_work(str(lake), recipe, None) as work:
        before = count(work.lake, "judgments")
        run_all(work)
        assert count(work.lake, "judgments") == before == 24
        assert len(work.look().mixed) == 8


def test_the_command_line_says_what_does_not_go_together(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "o.jsonl", record())
    other = run_here("import", "--judgments", file, "--layout", "hh", "--lake", tmp_path / "lake")
    assert other.returncode == 2 and "leave out --layout hh" in other.stderr
    nameless = run_here("import", file, "--lake", tmp_path / "lake")
    assert nameless.returncode == 2 and "Missing option '--name'" in nameless.stderr
    pool = write_jsonl(
        tmp_path / "pool.jsonl", {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    )
    wrong = run_here("import", "--judgments", pool, "--lake", tmp_path / "lake")
    assert wrong.returncode == 1 and "which needs annotator, kind, prompt" in wrong.stderr


@pytest.mark.realdata
def test_pandalm_says_the_same_as_recorded_opinions(
    lake: Lake, tmp_path: Path, realdata: Path
) -> None:
    """The pool by its own layout and, every one of its opinions a record, as opinions."""
    pool = realdata / "pandalm_999x3.jsonl.gz"
    records = []
    for _, row in read_rows(open_pool(str(pool))):
        assert isinstance(row, dict)
        try:
            imported = layouts.read_row("pandalm", row)
        except ValueError:
            continue  # a response that is no text
        for said in imported.comparisons:
            records.append(
                {
                    "annotator": said.annotator_suffix,
                    "kind": said.kind,
                    "prompt": imported.messages[0]["content"],
                    "response_a": imported.responses[0],
                    "response_b": imported.responses[1],
                    "verdict": {1.0: "A", 0.5: "tie", 0.0: "B", None: None}[said.p_first],
                    "raw": said.raw,
                    "sample_index": row["idx"],  # two rows may say the same of one pair
                }
            )
    bring(lake, pool, name="layout")
    summary = bring_opinions(lake, write_jsonl(tmp_path / "o.jsonl", *records), name="records")
    assert (summary.rows_in, summary.kept) == (4965, 4965)
    said_by = {
        name: lake.query(
            "SELECT split_part(annotator, '/', 2) AS who, kind, response_a, response_b, p_a, tie, "
            "valid, reason, raw FROM judgments WHERE starts_with(annotator, ?) ORDER BY ALL",
            [f"import:{name}/"],
        ).rows()
        for name in ("layout", "records")
    }
    assert said_by["layout"] == said_by["records"]
    assert len(said_by["layout"]) == 4965
