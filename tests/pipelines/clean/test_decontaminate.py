"""The stage: prompts and responses of evaluation sets are dropped, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.clean.decontaminate import STAGE, decontaminate_prompts, keep_uncontaminated
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.ship.explain import explain_pair, render_explanation
from pipelines.steps import SETTLING_STEPS, Work, open_work, publish_settled, run_step
from schemas.recipe import Recipe, RecipeError, parse_recipe
from schemas.tables import polars_schema
from tests.conftest import run_here
from tests.pipelines.lake.pools import write_jsonl

QUESTION = (
    "A baker sells nineteen loaves on Monday and twice as many on Tuesday; how many loaves does "
    "she sell on both days together?"
)
LEXICAL = ["exact", "13gram", "8gram"]
POOL = [
    ("Name three rivers in Europe.", "Rhine, Danube, Loire.", "No."),
    (QUESTION.upper().replace(",", " "), "Fifty-seven.", "Forty."),
    (
        f"For my homework I have to solve the following, and I want every step explained to me in "
        f"the words of a pirate who has never baked or counted anything at all: {QUESTION}",
        "57",
        "40",
    ),
    ("Write a word problem.", f"Here: {QUESTION}", "A cat."),
    ("Write a short poem.", "Roses are red.", "No."),
]


def make_frame(*prompts: list[tuple[str, str]] | str) -> pl.DataFrame:
    """Prompts p0, p1, …, each one user's text or (role, content)."""
    rows = [[("user", prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
    return pl.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(len(rows))],
            "messages": [[{"role": r, "content": c} for r, c in row] for row in rows],
            "source": [f"s{i % 2}" for i in range(len(rows))],
        },
        schema_overrides={"messages": polars_schema("prompts")["messages"]},
    )


def make_recipe(against: Path | str, **spec: Any) -> Recipe:
    return parse_recipe({
        "name": "small",
        "prompts": {"imports": [{"path": "pool.jsonl", "name": "pool"}]},
        "label": {"policy": "imported"},
        "clean": {"decontaminate": {"against": [str(against)], "methods": LEXICAL, **spec}},
        "train": None,
    })  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def gsm(tmp_path: Path) -> Path:
    rows = [{"question": q, "answer": "So.\n#### 57"} for q in ("What is a loaf?", QUESTION)]
    return write_jsonl(tmp_path / "gsm8k_test.jsonl", *rows)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in POOL]
    return write_jsonl(tmp_path / "pool.jsonl", *rows)


def test_each_decision_names_the_row_the_rule_and_its_number(lake: Lake, gsm: Path) -> None:
    prompts = make_frame("Hello.", QUESTION.lower(), f"Well: {QUESTION}", "what is a LOAF")
    recipe = make_recipe(gsm)
    summary = decontaminate_prompts(lake, new_run(), recipe, None, prompts)
    assert (summary.rows_in, summary.kept) == (4, 1)
    assert summary.dropped == {"contaminated_13gram": 1, "contaminated_exact": 2}
    assert summary.extra["hits"] == {"exact": 2, "13gram": 2, "8gram": 2}
    assert summary.extra["hits_by_set"] == {"GSM8K": 3}
    assert summary.extra["dropped_by_source"] == {"s0": 1, "s1": 2}
    assert summary.extra["sets"] == [
        {"name": "GSM8K", "place": str(gsm), "prompts": 2, "unread": {}}
    ]
    rows = lake.query("FROM decisions ORDER BY item_id").rows(named=True)
    assert [(r["item_id"], r["rule"], r["value"], r["threshold"]) for r in rows] == [
        ("p1", "contaminated_exact", 1.0, 1.0),
        ("p2", "contaminated_13gram", 1.0, 0.0),
        ("p3", "contaminated_exact", 1.0, 1.0),
    ]
    assert {r["item_kind"] for r in rows} == {"prompt"} and {r["stage"] for r in rows} == {STAGE}
    assert rows[1]["group_id"] == "GSM8K:1"
    assert rows[1]["reason"].startswith("holds 100% of the 13grams of GSM8K row 1: “a baker sells")
    assert all(len(r["reason"]) < 200 for r in rows)
    assert keep_uncontaminated(lake, recipe, None, prompts)["prompt_id"].to_list() == ["p0"]


def test_an_earlier_turn_and_a_system_prompt_are_looked_at_too(lake: Lake, gsm: Path) -> None:
    prompts = make_frame(
        [("user", "What is a loaf?"), ("assistant", "Bread."), ("user", "Thanks.")],
        [("system", f"Example: {QUESTION}"), ("user", "Go on.")],
        [("user", "What is"), ("assistant", "a"), ("user", "loaf?")],
    )
    decontaminate_prompts(lake, new_run(), make_recipe(gsm), None, prompts)
    found = lake.query("SELECT item_id, rule FROM decisions ORDER BY item_id").rows()
    assert found == [
        ("p0", "contaminated_exact"), ("p1", "contaminated_13gram"), ("p2", "contaminated_exact"),
    ]  # fmt: skip


def test_what_the_recipe_does_not_ask_for_is_not_looked_for(lake: Lake, gsm: Path) -> None:
    prompts = make_frame(f"Well: {QUESTION}")
    for spec in ({"methods": ["exact"]}, {"methods": ["8gram"], "min_share_8gram": 1.0}):
        recipe = make_recipe(gsm, **spec)
        dropped = decontaminate_prompts(lake, new_run(), recipe, None, prompts).dropped
        assert sum(dropped.values()) == (spec["methods"] == ["8gram"])


def test_a_scope_is_done_once_and_knows_the_content_of_its_sets(
    lake: Lake, gsm: Path, tmp_path: Path
) -> None:
    prompts = make_frame(QUESTION)
    first = decontaminate_prompts(lake, new_run(), make_recipe(gsm), None, prompts)
    moved = gsm.rename(tmp_path / "elsewhere.jsonl")
    again = decontaminate_prompts(lake, new_run(), make_recipe(moved), None, prompts)
    assert first.scope == again.scope and again.dropped == first.dropped
    other = write_jsonl(tmp_path / "other.jsonl", {"question": "Else?", "answer": "#### 1"})
    third = decontaminate_prompts(lake, new_run(), make_recipe(other), None, prompts)
    assert third.scope != first.scope and third.kept == 1
    assert keep_uncontaminated(lake, make_recipe(moved), None, prompts).is_empty()
    assert len(keep_uncontaminated(lake, make_recipe(other), None, prompts)) == 1


def run_all(work: Work) -> list[Any]:
    return [run_step(work, step) for step in ("import", *SETTLING_STEPS)]


def test_a_version_has_no_pair_of_a_contaminated_prompt_or_response(
    tmp_path: Path, gsm: Path, pool: Path
) -> None:
    place = str(tmp_path / "lake")
    with open_work(place, make_recipe("gsm8k_test.jsonl"), tmp_path) as work:
        summaries = run_all(work)
        version = publish_settled(work, summaries)
        kept = {m[0]["content"] for m in work.look().prompts["messages"]}
        assert kept == {POOL[0][0], POOL[3][0], POOL[4][0]}
        assert version.rows == 2  # of the fourth the chosen response is gone
        of = {s.stage: s for s in summaries}
        assert of["decontaminate"].dropped == {"contaminated_13gram": 1, "contaminated_exact": 1}
        assert of["decontaminate_responses"].dropped == {"contaminated_13gram": 1}
        scopes = work.look().scopes
        assert scopes["decontaminate"] == of["decontaminate"].scope
        [pair_id] = work.lake.query("SELECT unnest(pair_ids) AS id FROM imports WHERE row = 3")[
            "id"
        ]
        told = explain_pair(work.lake, pair_id)
        assert [row["rule"] for row in told["decisions"]] == ["contaminated_13gram"]
        words = "contaminated_13gram (13 words in a row of an evaluation prompt): holds"
        assert f"decontaminate_responses: drop response by {words}" in render_explanation(told)


def test_the_words_of_a_set_stay_out_of_the_lake(tmp_path: Path, pool: Path) -> None:
    secret = " ".join(f"secret{i}" for i in range(40))
    against = write_jsonl(tmp_path / "a.jsonl", {"prompt": secret}, {"prompt": QUESTION})
    place = str(tmp_path / "lake")
    with open_work(place, make_recipe(against), tmp_path) as work:
        run_all(work)
        tables = [*work.lake.query("SELECT table_name AS t FROM duckdb_tables()")["t"].unique()]
        for table in tables:
            assert "secret" not in str(work.lake.query(f'FROM "{table}"').rows())


def test_a_recipe_without_evaluation_sets_goes_as_before(tmp_path: Path, pool: Path) -> None:
    bare = make_recipe("none").model_copy(update={"clean": parse_recipe({
        "name": "x", "prompts": {"arithmetic": {"count": 1}}}).clean})  # fmt: skip
    with open_work(str(tmp_path / "lake"), bare, tmp_path) as work:
        run_all(work)
        assert work.lake.query("FROM decisions WHERE starts_with(stage, 'decont')").is_empty()
        assert "decontaminate" not in work.look().scopes
        assert publish_settled(work, []).rows == len(POOL)


def test_a_missing_set_is_named_before_anything_is_decided(tmp_path: Path, pool: Path) -> None:
    from pipelines.clean.evaluation_sets import EvaluationSetUnusable

    with open_work(str(tmp_path / "lake"), make_recipe("none.jsonl"), tmp_path) as work:
        run_step(work, "import")
        with pytest.raises(EvaluationSetUnusable, match=r"none\.jsonl: no such file"):
            run_step(work, "decontaminate")


@pytest.mark.parametrize(
    "spec", [{}, {"against": []}, {"against": ["a"], "methods": ["5gram"]},
             {"against": ["a"], "threshold": 0}, {"against": ["a"], "method": ["exact"]}],
)  # fmt: skip
def test_a_recipe_says_what_is_wrong_with_it(spec: dict[str, Any]) -> None:
    content = json.loads(make_recipe("x").model_dump_json())
    content["clean"]["decontaminate"] = spec
    with pytest.raises(RecipeError, match="decontaminate"):
        parse_recipe(content)


def test_the_command_looks_at_every_imported_pool(tmp_path: Path, gsm: Path, pool: Path) -> None:
    place = tmp_path / "lake"
    assert run_here("import", pool, "--name", "one", "--lake", place).returncode == 0
    other = write_jsonl(tmp_path / "two.jsonl", {"prompt": "Hm?", "chosen": QUESTION,
                                                 "rejected": "No."})  # fmt: skip
    assert run_here("import", other, "--name", "two", "--lake", place).returncode == 0
    recipe = tmp_path / "lexical.yaml"
    recipe.write_text(make_recipe(gsm).model_dump_json())
    done = run_here("decontaminate", recipe, "--lake", place, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows_in"] == 0  # the recipe's own pool is called otherwise
    whole = json.loads(recipe.read_text())
    whole["prompts"]["imports"] = [{"path": "x", "name": n} for n in ("one", "two")]
    recipe.write_text(json.dumps(whole))
    told = json.loads(run_here("decontaminate", recipe, "--lake", place, "--json").stdout)
    assert told["dropped"] == {"one": 3, "two": 1}
    assert told["hits"] == {"exact": 2, "13gram": 4, "8gram": 4}
    assert told["hits_by_set"] == {"GSM8K": 4}
    assert told["rows_in"] == told["kept"] + 4 == 6 + 8
    assert [stage["stage"] for stage in told["stages"]] == [
        "decontaminate", "decontaminate_responses"
    ]  # fmt: skip
    assert told["quarantined"] == {} and told["flipped"] == 0
    plain = run_here("decontaminate", recipe, "--lake", place)
    assert "hits: exact 2, 13gram 4, 8gram 4" in plain.stdout


def test_the_command_names_what_is_missing(tmp_path: Path, gsm: Path, pool: Path) -> None:
    place = tmp_path / "lake"
    with open_lake(place):
        pass
    done = run_here("decontaminate", "--against", gsm, "--lake", place)
    assert done.returncode == 1 and "no pool was imported" in done.stderr
    done = run_here("decontaminate", "tiny", "--lake", place)
    assert done.returncode == 1 and "give one with --against" in done.stderr
    run_here("import", pool, "--name", "one", "--lake", place)
    done = run_here("decontaminate", "--against", tmp_path / "no.json", "--lake", place)
    assert done.returncode == 1 and "no.json: no such file" in done.stderr


@pytest.mark.slow
@pytest.mark.xdist_group("embedder")
def test_the_command_finds_a_paraphrase_in_any_pool(tmp_path: Path, gsm: Path) -> None:
    """Without a recipe; the second time from the vectors that the lake keeps."""
    again = (
        "On Monday a baker sold 19 loaves, and on Tuesday double that number. What is the total "
        "number of loaves sold over the two days?"
    )
    place = tmp_path / "lake"
    rows = [{"prompt": p, "chosen": "57", "rejected": "40"} for p in (again, "Write a poem.")]
    run_here(
        "import", write_jsonl(tmp_path / "pool.jsonl", *rows), "--name", "one", "--lake", place
    )
    for against in ("gsm8k_test.jsonl", "again.jsonl"):
        done = run_here("decontaminate", "--against", tmp_path / against, "--lake", place, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["hits"] == {"exact": 0, "13gram": 0, "8gram": 0, "semantic": 1}
        assert told["dropped"] == {"one": 1}
        extra = {"question": "Who wrote Hamlet?", "answer": "#### 0"}
        write_jsonl(tmp_path / "again.jsonl", *map(json.loads, gsm.read_text().splitlines()), extra)
    with open_lake(place) as lake:
        found = lake.query("SELECT rule, value, threshold, reason FROM decisions").rows(named=True)
        assert len(found) == 2  # of one scope each
        for row in found:
            assert row["rule"] == "contaminated_semantic"
            assert 1 > row["value"] >= row["threshold"] == 0.78
            assert row["reason"].startswith("says what GSM8K row 1 says (similarity 0.")
        assert lake.query("SELECT count(*) AS n FROM embeddings")["n"][0] == 4
