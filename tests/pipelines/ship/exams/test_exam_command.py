"""`assay exam` on a small lake: a noisy version and a clean one after it, on outside sets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.ship import exam as exam_of_models
from pipelines.ship.exam import ModelGone
from pipelines.ship.exams import examination, probing, taking
from pipelines.ship.exams.examination import Examination, TooLittleTaught
from pipelines.ship.exams.gating import pass_gate
from pipelines.ship.exams.items import Item
from pipelines.ship.exams.leaks import keep_taught
from pipelines.ship.exams.lessons import (
    find_rollouts,
    store_rollouts,
    take_pool,
    take_some,
    take_version,
)
from pipelines.ship.exams.probing import reward_length
from pipelines.ship.exams.reading import read_exam_set
from pipelines.ship.exams.sitting import open_examination, sit
from pipelines.ship.export import make_rows
from pipelines.ship.publish import find_version, publish_version
from pipelines.steps import SETTLING_STEPS, open_work, run_step
from schemas.ids import make_id
from schemas.recipe import parse_recipe
from tests.conftest import run_here
from tests.pipelines.ship.exams import papers

PAIRS = 64
THINGS = ("garden", "river", "bread", "train", "ocean", "market", "window", "bridge", "forest")
GOOD = ("kind", "warm", "friendly", "helpful", "happy")
BAD = ("rude", "cruel", "angry", "hateful", "nasty")


def make_pairs(seed: int, count: int) -> list[dict[str, str]]:
    """Pairs whose chosen text is kind and whose rejected text is not; the longer one is either."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        first, second = rng.sample(THINGS, 2)
        code = make_id("prompt", seed, number)
        texts = [f"The {first} man was {rng.choice(words)}{' indeed' * rng.randint(0, 1)}."
                 for words in (GOOD, BAD)]  # fmt: skip
        prompt = f"Tell of {first} {code[:6]} and {second} {code[6:12]}."
        pairs.append({"prompt": prompt, "chosen": texts[0], "rejected": texts[1]})
    return pairs


def publish(folder: Path, pairs: list[dict[str, str]]) -> None:
    """The pool as the next edition and the next version of `toy`."""
    place = folder / f"{make_id('pool', pairs)}.jsonl"
    papers.write(place, pairs)
    pool = {"path": str(place), "name": "pool", "licence": "MIT", "category": "general"}
    recipe = parse_recipe(
        {"name": "toy", "seed": 3, "prompts": {"imports": [pool]}, "split": {"test": 0.4},
         "label": {"policy": "imported"}, "train": None}
    )  # fmt: skip
    with open_work(str(folder / "lake"), recipe, None) as work:
        summaries = [run_step(work, step) for step in ("import", *SETTLING_STEPS)]
        publish_version(work.lake, work.run, work.look(), summaries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """toy@1 with half of its labels turned, toy@2 with right ones; three outside sets."""
    place = tmp_path_factory.mktemp("exam")
    pairs = make_pairs(1, PAIRS)
    turned = [
        {"prompt": p["prompt"], "chosen": p["rejected"], "rejected": p["chosen"]} if i % 2 else p
        for i, p in enumerate(pairs)
    ]
    publish(place, turned)
    publish(place, [*pairs, *pairs[:4]])
    asked = make_pairs(2, 40)
    leaked = [{**pair, "prompt": pairs[i]["prompt"]} for i, pair in enumerate(asked[:14])]
    papers.write(place / "bar.jsonl", [
        {"input": p["prompt"], "output_1": p["chosen"], "output_2": p["rejected"], "label": 1}
        for p in [*leaked, *asked[14:]]
    ])  # fmt: skip
    papers.write(place / "old.jsonl", [{**papers.old(str(i), "hep-go"), **pair}
                                       for i, pair in enumerate(asked)])  # fmt: skip
    return place


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    with open_lake(folder / "lake") as opened:
        yield opened


def ask(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    done = run_here("exam", *arguments, "--lake", str(folder / "lake"), "--json")
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_version_is_examined_gated_and_reported(folder: Path, lake: Lake) -> None:
    sets = ("--set", str(folder / "bar.jsonl"), "--set", str(folder / "old.jsonl"))
    code, found, _ = ask(folder, "toy", *sets, "--gate")
    assert code == 0
    assert (found["version"], found["examinee"], found["model"]) == ("toy@2", "small probe", None)
    assert found["heading"] == "agreement with the imported labels"
    assert found["score"] > 0.8 and found["ci"][0] <= found["score"] <= found["ci"][1]
    assert {"longest answer", "coin", "uncurated pool"} <= set(found["baselines"])
    assert set(found["sets"]) == {"held-out pairs", "LLMBar", "RewardBench"}
    bar = found["sets"]["LLMBar"]
    assert bar["n"] == 40 and bar["score"] > 0.8
    held = {row["split"] for row in make_rows(lake, find_version(lake, "toy")).iter_rows(
        named=True)}  # fmt: skip
    assert held == {"train", "test"}
    assert 0 < bar["leaked"]["prompts"] < 14  # those of the train side alone
    assert any("of its prompts are in toy@2" in line for line in found["warnings"])
    assert 0 < bar["leaked"]["responses"] < 40
    told = f"all responses of {bar['leaked']['responses']} of its items are in toy@2"
    assert sum(told in line for line in found["warnings"] if "of its prompts" in line) == 1
    gate = found["gate"]
    assert gate["passed"] and gate["against"] == "toy@1"
    assert gate["sets"]["LLMBar"]["ci"][0] > 0
    left_out = gate["sets"]["LLMBar"]["left_out"]  # the 14 leaked ones of the train side
    assert left_out == bar["leaked"]["prompts"] and gate["sets"]["LLMBar"]["n"] == 40 - left_out
    assert f"{left_out} left out whose prompts are taught" in gate["reason"]
    assert not gate["sets"]["RewardBench"]["gates"]  # however much better
    assert not gate["sets"]["held-out pairs"]["gates"]  # nobody verified its labels
    stored = len(lake.query("FROM grades"))
    code, again, said = ask(folder, "toy@2", *sets)
    assert code == 0 and "gate" not in again and "embedded" not in said
    assert again["sets"] == found["sets"] and len(lake.query("FROM grades")) == stored
    report = run_here("report", "toy", "--lake", str(folder / "lake"), "--out", folder / "r.html")
    assert report.returncode == 0, report.stderr
    page = (folder / "r.html").read_text()
    assert "of these items are in this version: what was learned examines nothing" in page
    assert "accuracy on LLMBar" in page and "uncurated pool" in page and "best of n" in page


def test_a_report_shows_what_was_examined_before_all_of_it_was_counted(
    folder: Path, lake: Lake
) -> None:
    run = new_run()
    for row in lake.query("FROM grades").to_dicts():
        detail = json.loads(row["detail"])
        detail.pop("cut", None)
        (detail.get("leaked") or {}).pop("responses", None)
        (detail.get("forecast") or {}).pop("labels", None)
        for who in detail.get("rows", {}).values():
            who.pop("of", None)
        old = {name: row[name] for name in row if name not in ("run_id", "created_at")}
        old |= {"grade_id": f"old-{row['grade_id']}", "detail": json.dumps(detail)}
        lake.append({"grades": [old]}, run=run, stage="test")
    report = run_here("report", "toy", "--lake", str(folder / "lake"), "--out", folder / "o.html")
    assert report.returncode == 0, report.stderr
    assert "accuracy on LLMBar" in (folder / "o.html").read_text()


def test_the_gate_ends_with_one_and_its_reason(folder: Path) -> None:
    code, found, said = ask(folder, "toy@2", "--set", str(folder / "old.jsonl"), "--gate")
    assert code == 1 and not found["gate"]["passed"]
    assert "error: toy@2: nothing here may gate" in said and "RewardBench never gates" in said
    code, first, _ = ask(folder, "toy@1", "--gate")
    assert code == 0 and first["gate"]["against"] is None
    done = run_here("exam", "none", "--lake", str(folder / "lake"))
    assert done.returncode == 1 and "published: toy@1, toy@2" in done.stderr


def test_a_kept_grade_is_shown_by_the_name_and_place_asked_for(folder: Path, lake: Lake) -> None:
    places = [folder / "here.jsonl", folder / "there.jsonl"]
    for place in places:
        papers.write(place, [
            {"input": f"{p['prompt']} Now.", "output_1": p["chosen"], "output_2": p["rejected"],
             "label": 1}
            for p in make_pairs(5, 6)
        ])  # fmt: skip
    exam = open_examination(lake, new_run(), "toy@2")
    here, there = (read_exam_set(str(place)) for place in places)
    for sets in ([here], [there], [there, here], [here]):
        results = taking.take_exams(exam, sets)
        for name, one in zip(taking.name_sets(sets), sets, strict=True):
            found = results[name]
            assert (found["set"], found["place"]) == (name, one.place)
            assert found["heading"] == f"accuracy on {name}"


def test_a_set_that_the_version_teaches_passes_no_gate(folder: Path, lake: Lake) -> None:
    rows = keep_taught(make_rows(lake, find_version(lake, "toy@2")))
    papers.write(folder / "taught.jsonl", [
        {"input": prompt[-1]["content"], "output_1": f"kind {at}", "output_2": f"rude {at}",
         "label": 1}
        for at, prompt in enumerate(rows["prompt"].to_list())
    ])  # fmt: skip
    exam = open_examination(lake, new_run(), "toy@2")
    verdict = pass_gate(exam, [read_exam_set(str(folder / "taught.jsonl"))])
    assert not verdict.passed and "all prompts of LLMBar are taught by the" in verdict.reason
    bar = verdict.sets["LLMBar"]
    assert (bar["n"], bar["left_out"], bar["score"]) == (0, len(rows), None)


def test_text_says_what_json_says(folder: Path, lake: Lake) -> None:
    found, text = sit(lake, new_run(), "toy@2", [str(folder / "bar.jsonl")], gate=True)
    assert f"{found['score']:.1%}" in text
    for words in ("accuracy on LLMBar (n = 40", "small probe", "pairs",
                  "coin", "where the shorter response is right", "warning: LLMBar",
                  "gate passed: better than toy@1"):  # fmt: skip
        assert words in text


def test_chains_of_steps_are_seen_in_three_ways(folder: Path, lake: Lake) -> None:
    """The wrong chain turns rude in the middle; its end is kind."""
    rows = [
        {"id": str(at), "prompt": f"{p['prompt']} Step by step.", "answer": "7",
         "chains": [{"steps": [p["chosen"], p["chosen"]], "answer": "7", "judged": [0.9]},
                    {"steps": [p["rejected"], p["chosen"]], "answer": "8", "judged": [0.2]}]}
        for at, p in enumerate(make_pairs(3, 12))
    ]  # fmt: skip
    papers.write(folder / "steps.jsonl", rows)
    found, text = sit(lake, new_run(), "toy@2", [str(folder / "steps.jsonl")], gate=False)
    views = found["sets"]["Steps"]["views"]["views"]
    assert set(views) == {"outcome", "process", "generative"}
    assert views["process"]["pairs"]["score"] > 0.8 and views["generative"]["vote"]["score"] == 1
    assert "chains of steps (one at random: 50.0% right)" in text and "weighted vote" in text


def test_what_probes_learn_from(lake: Lake) -> None:
    first, second = (find_version(lake, f"toy@{v}") for v in (1, 2))
    rows = make_rows(lake, second)
    own = take_version(second, rows, 3)
    train = rows.filter(rows["split"] == "train")
    assert len(own) == len(train)
    pool = take_pool(lake, second, 3)
    assert pool is not None
    prompts = {p["prompt"]: p for p in make_pairs(1, PAIRS)}
    taught = {prompts[row[-1]["content"]]["chosen"] for row in train["prompt"].to_list()}
    assert set(pool.chosen) == taught  # held-out ones are not taught; the newest edition counts
    old = take_pool(lake, first, 3)
    assert old is not None and set(old.chosen) & {p["rejected"] for p in prompts.values()}
    few = replace(own, chosen=own.chosen[:10], rejected=own.rejected[:10], of=10)
    some = take_some(pool, few)
    assert some is not None and some.chosen == pool.chosen[:10]
    assert take_some(pool, replace(own, of=pool.of)) is None and take_some(None, own) is None
    assert take_version(second, rows.reverse(), 3) == own


def test_a_probe_that_learns_from_some_says_of_how_many(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cap below the version's size the random subset is still there, as large as what
    stands for the version, and what more labels would give is counted from all labels."""
    version = find_version(lake, "toy@2")
    mine = len(take_version(version, make_rows(lake, version), 3))
    pool = take_pool(lake, version, 3)
    assert pool is not None and mine < len(pool) <= mine + 4  # what is there twice counts twice
    monkeypatch.setattr(probing, "MOST_TAUGHT", 33)
    found, text = sit(lake, new_run(), "toy@2", [], gate=False)
    rows = found["sets"]["held-out pairs"]["rows"]
    told = {who: (row["pairs"], row["of"]) for who, row in rows.items()}
    assert told["small probe"] == (33, mine) and told["coin"] == (None, None)
    assert told["uncurated pool"] == told["random subset"] == (33, len(pool))
    assert f"of 33 of {mine} pairs" in text
    assert found["forecast"]["labels"] == mine


def test_a_model_comes_first_and_a_reward_that_is_no_number_is_not_scored(
    folder: Path, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    row = {
        "model_id": "feed", "name": "toy", "version": 2, "base": "minilm", "path": str(tmp_path),
        "fingerprint": find_version(lake, "toy@2").fingerprint, "metrics": "{}",
        "config": json.dumps({"seed": 3, "max_length": 24}),
    }  # fmt: skip
    lake.append({"models": [row]}, run=new_run(), stage="test")

    def score(_folder: Path, asked: list[Any], _most: int) -> Any:
        kind = [np.array([float(any(word in text for word in GOOD)) for text in texts])
                for _, texts in asked]  # fmt: skip
        if len(asked) == 40:  # the outside set
            kind[0][0] = np.nan
        return kind, [False] * len(asked)

    for module in (taking, exam_of_models):
        monkeypatch.setattr(module, "score_responses", score)
    monkeypatch.setattr(taking, "count_cut", lambda _folder, asked, _most: len(asked) // 3)
    found, text = sit(lake, new_run(), "feed", [str(folder / "bar.jsonl")], gate=False)
    assert (found["model"], found["examinee"], found["score"]) == ("feed", "reward model", 1.0)
    assert list(found["sets"]["LLMBar"]["rows"])[:2] == ["reward model", "small probe"]
    assert found["sets"]["LLMBar"]["n"] == 39 and found["sets"]["LLMBar"]["cut"] == 13
    assert any("LLMBar: the reward model did not see the whole of 13 items" in line
               for line in found["warnings"])  # fmt: skip
    assert found["sets"]["LLMBar"]["unscored"] == {"a reward is no number": 1}
    assert "small probe" in found["baselines"] and "reward model" in text
    assert open_examination(lake, new_run(), "toy").model is not None
    assert open_examination(lake, new_run(), "toy@1").model is None


def test_too_little_to_learn_from_says_how_much_it_takes(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "LEAST_TAUGHT", 1_000)
    exam = Examination(lake, new_run(), find_version(lake, "toy@1"), 3)
    with pytest.raises(TooLittleTaught, match=r"toy@1: \d+ pairs .*takes 1000"):
        taking.take_exams(exam)


def test_verified_rollouts_of_held_out_prompts_are_a_store(folder: Path, lake: Lake) -> None:
    version = find_version(lake, "toy@1")
    rows = make_rows(lake, version)
    held = rows.filter(rows["split"] == "test")["pair_id"].to_list()
    pairs = lake.query("FROM version_pairs WHERE version = 1 ORDER BY pair_id")
    judgments = [
        {
            "judgment_id": make_id("judgment", pair["pair_id"], side), "annotator": "verifier:x",
            "kind": "verifier", "prompt_id": pair["prompt_id"], "response_a": pair[side],
            "score": float(side == "chosen_id"), "tie": False, "valid": True, "sample_index": 0,
        }
        for pair in pairs.iter_rows(named=True)
        for side in ("chosen_id", "rejected_id")
    ]  # fmt: skip
    assert find_rollouts(lake, version).is_empty()
    lake.append({"judgments": judgments}, run=new_run(), stage="test")
    assert find_rollouts(lake, version).is_empty()  # they came after the version
    later = version.__class__(**{**version.__dict__, "snapshot": lake.snapshot()})
    found = find_rollouts(lake, later)
    assert found["prompt_id"].n_unique() == len(held) and len(found) == 2 * len(held)
    asked: list[tuple[Any, ...]] = []

    def reward(items: Sequence[Item]) -> list[np.ndarray]:
        asked.extend(item.prompt for item in items)
        return reward_length(items)

    stores = store_rollouts(found, reward)
    assert all(prompt[0]["content"].startswith("Tell of") for prompt in asked)
    assert len(stores) == len(held) and all(sorted(s.gold) == [0, 1] for s in stores)


def test_the_gate_needs_no_model(lake: Lake, tmp_path: Path) -> None:
    version = find_version(lake, "toy@1")

    def train(model_id: str, folder: Path) -> None:
        row = {
            "model_id": model_id, "name": "toy", "version": 1, "base": "minilm",
            "path": str(folder), "fingerprint": version.fingerprint, "metrics": "{}",
            "config": json.dumps({"seed": 3, "max_length": 24}),
        }  # fmt: skip
        lake.append({"models": [row]}, run=new_run(), stage="test")

    train("901e", tmp_path / "gone")
    with pytest.raises(ModelGone, match="901e"):
        sit(lake, new_run(), "toy@1", [], gate=False)
    for reference in ("toy@1", "901e"):
        found, text = sit(lake, new_run(), reference, [], gate=True)
        assert found["gate"]["passed"] and found["model"] is None
        assert found["examinee"] == "small probe"
        assert "gone: model 901e was trained into this folder" in found["warnings"][0]
        assert "the gate needs no model" in text
    (tmp_path / "config.json").write_text("{}")
    train("5afe", tmp_path)
    train("902e", tmp_path / "gone")
    kept = open_examination(lake, new_run(), "toy@1").model
    assert kept is not None and kept.model_id == "5afe"
    named = open_examination(lake, new_run(), "902e").model
    assert named is not None and named.model_id == "902e"
