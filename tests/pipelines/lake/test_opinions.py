"""Recorded opinions: which way round they are stored, what is refused and why, nothing twice, and a
data set made of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.lake import importing, layouts
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.intake import Edition, Intake
from pipelines.lake.layouts import OPINIONS
from pipelines.lake.opinions import KNOWN, read_opinion
from pipelines.lake.parts import Comparison
from pipelines.lake.readers import open_pool, read_rows
from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import Run, StageSummary
from pipelines.ship.publish import read_pairs
from pipelines.steps import STEPS, Work, open_work, publish_settled, run_step
from schemas.evidence import JUDGMENT_KINDS
from schemas.ids import make_prompt_id, make_response_id
from schemas.recipe import ImportSource
from tests.conftest import make_recipe, run_assay
from tests.pipelines.lake.pools import OPINION, USER, bring, count, write_jsonl

FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "A": {"verdict": {"verdict": "A"}, "p_a": {"p_a": 0.75}, "score": {"score_a": 4, "score_b": 1}},
    "B": {"verdict": {"verdict": "B"}, "p_a": {"p_a": 0.25}, "score": {"score_a": 1, "score_b": 4}},
}


def record(**changes: Any) -> dict[str, Any]:
    """`OPINION` with other fields. A number takes the verdict's place, `...` takes a key away."""
    said = {"p_a", "score_a", "score_b"} & changes.keys()
    kept = {k: v for k, v in OPINION.items() if k != "verdict" or not said}
    return {k: v for k, v in {**kept, **changes}.items() if v is not ...}


def read(**changes: Any) -> Comparison:
    (comparison,) = read_opinion(record(**changes)).comparisons
    return comparison


def take_in(row: dict[str, Any]) -> dict[str, Any]:
    """The row of `judgments` that a record comes to, with the texts of its two responses."""
    source = ImportSource(path="x", name="pool", layout=OPINIONS)
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("prompts", "responses", "rollouts", "judgments", "quarantine", "imports")
    }
    Intake(source, Edition("f" * 32, OPINIONS, "{}"), set()).add(tables, 0, row)
    texts = {row["response_id"]: row["content"] for row in tables["responses"]}
    (judgment,) = tables["judgments"]
    judgment["texts"] = texts[judgment["response_a"]], texts[judgment["response_b"]]
    return judgment


def bring_opinions(lake: Lake, file: Path, **source: Any) -> StageSummary:
    return bring(lake, file, layout=OPINIONS, **source)


def responses_in_order(smaller_first: bool, salt: str = "") -> tuple[str, str]:
    """Two texts, as a record's response_a and response_b, of whose ids the first is the smaller
    one, or the larger."""
    prompt_id = make_prompt_id([USER])
    one, two = sorted((f"One{salt}.", f"Two{salt}."), key=lambda t: make_response_id(prompt_id, t))
    return (one, two) if smaller_first else (two, one)


@pytest.mark.parametrize("form", ["verdict", "p_a", "score"])
@pytest.mark.parametrize("smaller_first", [True, False])
@pytest.mark.parametrize("order", ["ab", "ba", None])
@pytest.mark.parametrize("preferred", ["A", "B"])
def test_the_preferred_response_and_the_one_shown_first_stay_what_they_are(
    preferred: str, order: str | None, smaller_first: bool, form: str
) -> None:
    """Told by the texts alone, for every verdict, order shown and order of the ids."""
    texts = dict(zip("AB", responses_in_order(smaller_first), strict=True))
    said = FORMS[preferred][form]
    row = take_in(record(response_a=texts["A"], response_b=texts["B"], order=order, **said))
    assert row["response_a"] < row["response_b"]
    winner = row["texts"][0] if row["p_a"] > 0.5 else row["texts"][1]
    assert winner == texts[preferred]
    sure = 0.75 if form == "p_a" else 1.0
    assert max(row["p_a"], 1 - row["p_a"]) == sure
    if order is None:
        assert row["order"] is None
    else:
        shown_first = row["texts"][0] if row["order"] == "ab" else row["texts"][1]
        assert shown_first == texts[order[0].upper()]
    detail = json.loads(row["detail"])
    assert detail["mirrored"] == (row["texts"] != (texts["A"], texts["B"]))
    if form == "score":
        better, worse = ("score_a", "score_b") if row["p_a"] > 0.5 else ("score_b", "score_a")
        assert (detail[better], detail[worse]) == (4, 1)


numbers = st.floats(0, 1) | st.sampled_from([0, 1, 0.5])


@given(numbers, st.sampled_from(["ab", "ba", None]), st.integers(0, 30))
@example(0.5, "ab", 0)
def test_a_record_and_its_mirror_are_stored_alike(p_a: float, order: str | None, n: int) -> None:
    """Swapping the two responses of a record, with all that it says of them, changes nothing."""
    one, two = responses_in_order(True, str(n))
    turned = {"ab": "ba", "ba": "ab", None: None}[order]
    straight = take_in(record(response_a=one, response_b=two, p_a=p_a, order=order))
    mirrored = take_in(record(response_a=two, response_b=one, p_a=1 - p_a, order=turned))
    same = ("annotator", "response_a", "response_b", "order", "texts", "tie", "valid")
    assert [straight[key] for key in same] == [mirrored[key] for key in same]
    assert straight["p_a"] == pytest.approx(mirrored["p_a"], abs=1e-12)


@pytest.mark.parametrize(
    ("said", "p_first", "tie"),
    [
        ({"verdict": "A"}, 1.0, False),
        ({"verdict": " b "}, 0.0, False),
        ({"verdict": "tie"}, 0.5, True),
        ({"p_a": 0.5}, 0.5, False),  # it did not call it a tie
        ({"p_a": 1}, 1.0, False),
        ({"score_a": 2, "score_b": 2.0}, 0.5, True),
        ({"score_a": -3, "score_b": -1}, 0.0, False),
        ({"p_a": 0.7, "verdict": "A", "score_a": 9, "score_b": 1}, 0.7, False),
        ({"p_a": 0.5, "verdict": "tie"}, 0.5, True),
        ({"p_a": None, "verdict": None, "score_a": 3, "score_b": 1}, 1.0, False),
    ],
)
def test_what_a_record_says(said: dict[str, Any], p_first: float, tie: bool) -> None:
    comparison = read(**{"verdict": ..., **said})
    assert (comparison.p_first, comparison.tie, comparison.valid) == (p_first, tie, True)


REFUSED = [
    ({"responce_a": "x"}, "unknown key 'responce_a'; did you mean 'response_a'?"),
    ({"zzz": 1}, "unknown key 'zzz'"),
    ({"annotator": ...}, "annotator is missing"),
    ({"annotator": " "}, "annotator is empty"),
    ({"annotator": 7}, "annotator is of type int, not text"),
    ({"kind": ...}, "kind is missing"),
    ({"kind": "humann"}, f"kind is none of {', '.join(JUDGMENT_KINDS)}; did you mean 'human'?"),
    ({"kind": "LLM"}, f"kind is none of {', '.join(JUDGMENT_KINDS)}; did you mean 'llm'?"),
    ({"prompt": ...}, "prompt is missing"),
    ({"prompt": ""}, "empty prompt"),
    ({"prompt": []}, "empty prompt"),
    ({"prompt": True}, "prompt is not text or a list of messages"),
    ({"prompt": [{"role": "user"}]}, "prompt holds a message without role or text"),
    ({"response_a": True}, "response_a is a boolean, not text"),
    ({"response_b": None}, "response_b is missing"),
    ({"verdict": ...}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": None}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": ..., "raw": "Hm."}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": "C"}, "verdict is none of A, B, tie"),
    ({"verdict": True}, "verdict is a boolean, not text"),
    ({"verdict": 1}, "verdict is of type int, not text"),
    ({"p_a": 1.01}, "p_a is outside [0, 1]"),
    ({"p_a": -1e-9}, "p_a is outside [0, 1]"),
    ({"p_a": float("nan")}, "p_a is not a finite number"),
    ({"p_a": True}, "p_a is a boolean, not a number"),
    ({"p_a": "0.5"}, "p_a is text, not a number"),
    ({"score_a": 1}, "score_b is missing"),
    ({"score_b": 1}, "score_a is missing"),
    ({"score_a": 1, "score_b": float("inf")}, "score_b is not a finite number"),
    ({"score_a": 10**400, "score_b": 1}, "score_a is not a finite number"),
    ({"p_a": 0.4, "verdict": "A"}, "p_a disagrees with verdict"),
    ({"p_a": 0.5, "verdict": "B"}, "p_a disagrees with verdict"),
    ({"verdict": "tie", "score_a": 1, "score_b": 2}, "verdict disagrees with score_a and score_b"),
    ({"p_a": 0.9, "score_a": 1, "score_b": 2}, "p_a disagrees with score_a and score_b"),
    ({"order": "AB"}, "order is neither ab nor ba"),
    ({"sample_index": -1}, "sample_index is not an integer from 0"),
    ({"sample_index": 0.5}, "sample_index is not an integer from 0"),
    ({"sample_index": False}, "sample_index is a boolean, not a number"),
    ({"tokens_in": 2**63}, "tokens_in is not an integer from 0"),
    ({"tokens_out": "12"}, "tokens_out is text, not a number"),
    ({"seconds": -0.1}, "seconds is less than 0"),
    ({"gold": "true"}, "gold is neither true nor false"),
    ({"gold": 1}, "gold is neither true nor false"),
    ({"verdict": None, "raw": "Hm.", "gold": True},
     "gold is true and there is no p_a, verdict or score"),
    ({"raw": True}, "raw is a boolean, not text"),
    ({"critique": ["x"]}, "critique is of type list, not text"),
    ({"criterion": 3}, "criterion is of type int, not text"),
    ({"category": False}, "category is a boolean, not text"),
    ({"licence": 3}, "licence is of type int, not text"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_what_cannot_be_used_is_refused_with_the_key(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        read(**changes)


FUZZED = sorted(KNOWN - {"response_b"})  # so that the two responses differ
values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["A", "tie", "ab", "human", 0.5, 1]) | st.lists(st.none(), max_size=1)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FUZZED) | st.text(max_size=3), values, max_size=6))
def test_a_record_of_anything_is_read_whole_or_refused(changes: dict[str, Any]) -> None:
    """What is read keeps the contract of the lake: nothing that counts as kept is lost there."""
    try:
        comparison = read(**changes)
    except ValueError:
        return
    assert comparison.valid == (comparison.p_first is not None)
    assert comparison.valid or (comparison.reason, comparison.raw is None) == ("no verdict", False)
    row = {k: v for k, v in take_in(record(**changes)).items() if k != "texts"}
    good, bad = validate("judgments", to_frame("judgments", [row], Run("r")), "import")
    assert (len(good), bad) == (1, [])


FULL = record(
    annotator="org/judge-1", kind="llm", p_a=0.8, order="ba", sample_index=3, gold=False,
    category="maths", criterion="clarity", critique="Clear.", raw="A, clearly", tokens_in=10,
    tokens_out=2.0, seconds=0.5, licence="CC0-1.0",
    prompt=[{"role": "system", "content": "Be brief."}, USER],
)  # fmt: skip


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
    done = run_assay("import", "--judgments", file, "--lake", lake, "--json")
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
    other = run_assay("import", "--judgments", file, "--layout", "hh", "--lake", tmp_path / "lake")
    assert other.returncode == 2 and "leave out --layout hh" in other.stderr
    nameless = run_assay("import", file, "--lake", tmp_path / "lake")
    assert nameless.returncode == 2 and "Missing option '--name'" in nameless.stderr
    pool = write_jsonl(
        tmp_path / "pool.jsonl", {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    )
    wrong = run_assay("import", "--judgments", pool, "--lake", tmp_path / "lake")
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
