"""Signals as a stage: what they look at, what they write, and that nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.verifiers import ANNOTATOR
from pipelines.label.juries import JURIES
from pipelines.label.policies import POLICIES
from pipelines.label.signalling import run_signals
from pipelines.label.verifying import CRITERION
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import StageSummary, new_run
from pipelines.ship.explain import explain_pair, render_explanation
from pipelines.steps import STEPS, Work, open_work, run_step
from pipelines.view import View
from schemas.ids import make_id, make_prompt_id, make_response_id
from schemas.recipe import Recipe
from tests.conftest import make_recipe, run_here, write_recipe
from tests.stub_server import run_stub

GOAL = {"method": "goal", "goal": "a formal letter", "baseline": "a letter"}
COSINE = {"method": "lengths", "limit": 40}
LINEAR = {"method": "lengths", "shape": "linear"}
REPEATS = {"method": "lengths", "shape": "repetition", "words": 2}
IMPLICIT = {"method": "implicit", "teacher": "t", "reference": "r"}
POLICY_PAIRS = {"method": "policy_pairs", "tolerance": 1.0}
ALL = [GOAL, COSINE, LINEAR, REPEATS, POLICY_PAIRS, {"method": "co_reward"}, IMPLICIT]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Vectors that follow from the text; the list of what was embedded."""
    seen: list[str] = []

    def embed(texts: Sequence[str], model: str) -> np.ndarray:
        seen.extend(texts)
        return np.stack([np.random.default_rng(list(t.encode())).normal(size=8) for t in texts])

    monkeypatch.setattr("annotators.signals.goal_baseline.embed_texts", embed)
    return seen


def make_prompts(**texts: str | tuple[str, str]) -> pl.DataFrame:
    """Prompts by name, or (parent's name, text). Those named `v...` have a verifier."""
    messages = {
        name: [{"role": "user", "content": text if isinstance(text, str) else text[1]}]
        for name, text in texts.items()
    }
    ids = {name: make_prompt_id(said) for name, said in messages.items()}
    rows = [
        {
            "name": name,
            "prompt_id": ids[name],
            "messages": messages[name],
            "parent_id": None if isinstance(text, str) else ids.get(text[0], text[0]),
            "verifier": "math_verify" if name.startswith("v") else None,
        }
        for name, text in texts.items()
    ]
    kinds = {"parent_id": pl.String, "verifier": pl.String}
    return pl.DataFrame(rows, schema_overrides=kinds)


def make_rollouts(prompts: pl.DataFrame, *said: tuple[str, str, str]) -> pl.DataFrame:
    """Rollouts of (prompt's name, policy, content)."""
    ids = dict(prompts.select("name", "prompt_id").iter_rows())
    rows = [
        (make_id("rollout", place), ids[name], make_response_id(ids[name], text), policy, text)
        for place, (name, policy, text) in enumerate(said)
    ]
    columns = ("rollout_id", "prompt_id", "response_id", "policy", "content")
    return pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")


def signal(
    lake: Lake, prompts: pl.DataFrame, rollouts: pl.DataFrame, *specs: dict[str, Any]
) -> StageSummary:
    recipe = make_recipe(signals=list(specs))
    return run_signals(lake, new_run(recipe), recipe, prompts, rollouts)


def read(lake: Lake, rollouts: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The judgments by the content of their first response, of one response in their order."""
    texts = rollouts.select("response_id", "content").unique("response_id")
    return lake.query(
        f"SELECT content, {', '.join(columns)} FROM judgments JOIN texts "
        "ON response_a = response_id WHERE kind = 'reward_model' ORDER BY content, created_at",
        texts=texts,
    ).rows()


def test_a_goal_scores_only_what_it_has_not_scored(lake: Lake, embedded: list[str]) -> None:
    prompts = make_prompts(p="Write to me.")
    few = make_rollouts(prompts, ("p", "m@1", "Dear all"), ("p", "m@1", "Hi"), ("p", "n@1", "Hi"))
    first = signal(lake, prompts, few, GOAL)
    assert (first.rows_in, first.kept, first.extra["made"]) == (2, 2, 2)
    assert sorted(embedded) == ["Dear all", "Hi", "a formal letter", "a letter"]
    more = make_rollouts(prompts, ("p", "m@1", "Dear all"), ("p", "m@1", "Hi"), ("p", "m@1", " "))
    embedded.clear()
    second = signal(lake, prompts, more, GOAL)
    assert (second.rows_in, second.extra["made"], second.extra["invalid"]) == (3, 1, 1)
    assert embedded == []  # nothing of it can be embedded
    assert [row[1:] for row in read(lake, more, "valid", "reason", "criterion")] == [
        (False, "the response has no embedding", None), (True, None, None), (True, None, None)
    ]  # fmt: skip
    of_tone = signal(lake, prompts, few, {**GOAL, "criterion": "tone"})
    assert of_tone.extra["made"] == 2
    who = lake.query("SELECT annotator, kind, specification FROM annotators").row(0)
    assert who[0].startswith("signal:goal-baseline:minilm:") and who[1] == "reward_model"
    assert json.loads(who[2])["goal"] == "a formal letter"


def test_lengths_hear_the_verifier_and_say_nothing_where_it_is_silent(lake: Lake) -> None:
    prompts = make_prompts(v="3 plus 4?", p="Why?")
    said = ("v", "m@1", "x" * 10), ("v", "m@1", "y" * 20), ("v", "m@1", "z" * 40), ("p", "m@1", "w")
    rollouts = make_rollouts(prompts, *said)
    ids = dict(rollouts.select("content", "response_id").iter_rows())
    add_verdict(lake, prompts, ids["x" * 10], 1.0)
    first = signal(lake, prompts, rollouts, COSINE)
    assert (first.rows_in, first.extra["made"], first.extra["invalid"]) == (3, 3, 1)
    told = {row[0][0]: row[1:] for row in read(lake, rollouts, "score", "valid")}
    assert set(told) == {"x", "y", "z"}  # no verifier checks `w`
    assert told["x"] == (pytest.approx(1.5 + 0.5 * np.cos(np.pi / 4)), True)
    assert told["y"] == (None, False)
    assert told["z"] == (-10.0, True)  # cut off, right or wrong
    add_verdict(lake, prompts, ids["y" * 20], 0.2)
    again = signal(lake, prompts, rollouts, COSINE)
    assert again.extra["invalid"] == 0
    scores = [row[1:] for row in read(lake, rollouts, "score", "valid") if row[0] == "y" * 20]
    assert scores == [(None, False), (pytest.approx(-5.0), True)]  # the verdict came later
    snapshot = lake.snapshot()
    assert signal(lake, prompts, rollouts, COSINE).extra["made"] == 0
    assert lake.snapshot() == snapshot


def add_verdict(lake: Lake, prompts: pl.DataFrame, response_id: str, score: float) -> None:
    row = {
        "judgment_id": make_id("verdict", response_id),
        "annotator": ANNOTATOR.format("math_verify"),
        "kind": "verifier",
        "prompt_id": prompts["prompt_id"][0],
        "response_a": response_id,
        "criterion": CRITERION,
        "score": score,
        "tie": False,
        "valid": True,
        "sample_index": 0,
    }
    lake.append({"judgments": [row]}, run=new_run(), stage="verify")


def test_repetition_looks_at_every_response_under_a_criterion(lake: Lake) -> None:
    prompts = make_prompts(p="Sing.")
    rollouts = make_rollouts(prompts, ("p", "m@1", "la la la la"), ("p", "m@1", "do re mi fa"))
    assert signal(lake, prompts, rollouts, REPEATS).kept == 2
    assert read(lake, rollouts, "criterion", "score") == [
        ("do re mi fa", "repetition", 0.0),
        ("la la la la", "repetition", pytest.approx(-2 / 3)),
    ]


def test_the_majority_over_a_paraphrase_labels_the_answers(lake: Lake) -> None:
    prompts = make_prompts(
        a="What is 3 plus 4?",
        b=("a", "Find the sum of 3 and 4."),
        c=("a", "What do 3 and 5 come to?"),
        d=("gone", "Name a colour."),
    )
    rollouts = make_rollouts(
        prompts,
        ("a", "m@1", "The answer is 7."), ("a", "m@1", "7"), ("a", "m@1", "It is 8"),
        ("a", "reference", "9"), ("b", "m@1", "7.0"), ("b", "n@1", "The answer is 7"),
        ("c", "m@1", "8"), ("d", "m@1", "red"),
    )  # fmt: skip
    summary = signal(lake, prompts, rollouts, {"method": "co_reward"})
    assert (summary.rows_in, summary.kept) == (7, 5)
    assert summary.dropped == {"co_reward:numbers_lost": 1, "co_reward:no_original": 1}
    assert read(lake, rollouts, "score", "criterion") == [
        ("7", 1.0, "correctness"), ("7.0", 1.0, "correctness"), ("It is 8", 0.0, "correctness"),
        ("The answer is 7", 1.0, "correctness"), ("The answer is 7.", 1.0, "correctness"),
    ]  # fmt: skip
    alone = signal(lake, prompts.head(1), rollouts, {"method": "co_reward"})
    assert (alone.rows_in, alone.kept) == (0, 0)


def test_seeds_may_be_paraphrases(tmp_path: Path) -> None:
    lines = [{"category": "advice", "prompt": "How many eggs are three dozen eggs?"},
             {"category": "advice", "prompt": "Three dozen eggs: what is their number?",
              "paraphrase_of": "How many eggs are three dozen eggs?"}]  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = {"model": "m", "count": 1, "categories": ["advice"], "seeds": "mine.jsonl"}
    with run_stub() as stub:
        recipe = make_recipe(stub.url, prompts={"open": source}, signals=[{"method": "co_reward"}])
        with open_work(str(tmp_path / "lake"), recipe, tmp_path) as work:
            for step in ("grow", "dedup", "split", "rollouts", "filter_responses"):
                run_step(work, step)
            prompts = work.look().prompts
            assert run_step(work, "signals").kept == 4  # two samples of either wording
    paraphrase = prompts.filter(pl.col("parent_id").is_not_null())
    original = prompts.filter(pl.col("prompt_id") == paraphrase["parent_id"][0])
    assert paraphrase["messages"][0][0]["content"] == lines[1]["prompt"]
    assert paraphrase["cluster_id"][0] == original["cluster_id"][0]


def test_pairs_of_policies_are_of_known_writers_and_under_a_criterion(lake: Lake) -> None:
    prompts = make_prompts(p="Why?")
    writers = ("m@1", "m@1", "import:pool", "import:pool", "import:pool/x", "reference")
    said = [("p", policy, f"Because {place}.") for place, policy in enumerate(writers)]
    rollouts = make_rollouts(prompts, *said)
    summary = signal(lake, prompts, rollouts, POLICY_PAIRS)
    assert (summary.kept, summary.dropped) == (1, {"policy_pairs:one_sample": 1})
    row = lake.query("FROM judgments").row(0, named=True)
    detail = json.loads(row["detail"])
    assert (detail["policy"], detail["other_policy"]) == ("m@1", "import:pool/x")
    assert row["criterion"] == "same_policy" and row["p_a"] in (0.0, 1.0)


def test_signals_that_a_recipe_lists_twice_are_one(lake: Lake) -> None:
    prompts = make_prompts(p="Sing.")
    rollouts = make_rollouts(prompts, ("p", "m@1", "la la"))
    assert signal(lake, prompts, rollouts, REPEATS, REPEATS).rows_in == 1
    assert signal(lake, prompts, rollouts).rows_in == 0


def make_full_recipe(url: str, **changes: Any) -> Recipe:
    models = {name: {"model": name, "url": url} for name in ("m", "t", "r")}
    prompts = {"arithmetic": {"count": 4}, "open": {"model": "m", "count": 2,
               "categories": ["advice"], "include_seeds": False}}  # fmt: skip
    rollouts = [{"model": name, "n": 2, "max_tokens": 32} for name in ("m", "t")]
    content = {"models": models, "prompts": prompts, "rollouts": rollouts, "signals": ALL}
    return make_recipe(**{**content, **changes})


def run_all(work: Work) -> dict[str, StageSummary]:
    return {step: run_step(work, step) for step in STEPS if step != "import"}


def test_a_second_run_writes_computes_and_asks_nothing(tmp_path: Path, embedded: list[str]) -> None:
    with run_stub() as stub:
        recipe = make_full_recipe(stub.url)
        with open_work(str(tmp_path / "lake"), recipe, None) as work:
            first = run_all(work)["signals"]
            assert first.extra["calls"] > 0 and first.extra["made"] > 0 and embedded
            counts = "SELECT annotator, count(*), sum(valid::INT) FROM judgments " \
                     "WHERE starts_with(annotator, 'signal:') GROUP BY ALL"  # fmt: skip
            told = {name.split(":")[1]: n for name, *n in work.lake.query(counts).rows()}
            assert set(told) == {
                "goal-baseline", "cosine-length", "linear-length", "repetition", "policy-pairs",
                "implicit-reward",
            }  # fmt: skip
            responses = work.look().rollouts["response_id"].n_unique()
            for name in ("goal-baseline", "implicit-reward", "repetition"):
                assert told[name] == [responses, responses]
            known = work.lake.query("SELECT annotator FROM annotators WHERE kind = 'reward_model'")
            assert len(known) == len(told)
            asked, snapshot = stub.stats()["requests"], work.lake.snapshot()
            embedded.clear()
            second = run_step(work, "signals")
            assert (second.rows_in, second.kept) == (first.rows_in, first.kept)
            assert (second.extra["calls"], second.extra["made"], embedded) == (0, 0, [])
            assert stub.stats()["requests"] == asked and work.lake.snapshot() == snapshot


def test_no_policy_labels_a_pair_by_signals(tmp_path: Path, embedded: list[str]) -> None:
    with run_stub() as stub:
        recipe = make_full_recipe(stub.url)
        lake_url = str(tmp_path / "lake")
        policies = {name: make_full_recipe(stub.url, label={"policy": name})
                    for name in (*POLICIES, *JURIES)}  # fmt: skip
        with open_work(lake_url, recipe.model_copy(update={"signals": []}), None) as work:
            run_all(work)
            before = {name: View(work.lake, policies[name]).labels for name in policies}
        with open_work(lake_url, recipe, None) as work:
            assert run_step(work, "signals").extra["made"] > 0
            for name, labels in before.items():
                assert len(labels) > 0, name
                assert View(work.lake, policies[name]).labels.equals(labels), name
            shown = render_explanation(explain_pair(work.lake, make_known(work, labels)))
    assert "same_policy: A with probability" in shown or "score of A: " in shown
    assert "None of" not in shown


def make_known(work: Work, labels: pl.DataFrame) -> str:
    """A pair that the lake knows by its id, as the review queue would make it known."""
    row = labels.row(0, named=True)
    review = {"review_id": "r", "status": "queued", **{key: row[key] for key in (
        "pair_id", "prompt_id", "response_a", "response_b")}}  # fmt: skip
    work.lake.append({"reviews": [review]}, run=work.run, stage="review")
    return str(row["pair_id"])


def test_a_command_runs_the_stage(tmp_path: Path) -> None:
    with run_stub() as stub:
        recipe = make_full_recipe(stub.url, signals=[REPEATS, IMPLICIT])
        file = write_recipe(tmp_path / "r.yaml", recipe)
        for command in ("synthesise", "dedup", "rollouts", "signals"):
            done = run_here(command, file, "--lake", tmp_path / "lake", "--json")
            assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)
        assert (row["stage"], row["rows_in"]) == ("signals", row["kept"])
        assert row["calls"] > 0 and row["invalid"] == 0
        done = run_here("signals", file, "--lake", tmp_path / "lake")
        assert done.stdout.startswith("signals ") and "calls" not in done.stdout


def test_a_summary_of_nothing_adds_up(lake: Lake) -> None:
    prompts = make_prompts(p="Why?")
    empty = make_rollouts(prompts)
    summary = signal(lake, prompts, empty, *ALL[1:-1])
    assert replace(summary, seconds=0.0).to_json()["rows_in"] == 0
