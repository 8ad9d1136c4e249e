"""Cards in the lake: whose word is gold, who is measured against whom, and what a label reads."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.pairwise import PairwiseJudge
from annotators.ranking.judge import GroupRanker
from annotators.rubrics.policy import Policy, PolicyJudge, load_policy_template
from annotators.rubrics.taxonomy import FailureChecker, load_failure_template
from pipelines.label.labelling import NotCalibrated, apply_policy
from pipelines.label.reliability import (
    NoSuchAnnotator,
    measure_annotators,
    read_cards,
    record_cards,
)
from pipelines.label.showing import render_reliability
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from schemas.recipe import parse_import
from tests.annotators.judging import MODEL, hold, make_item
from tests.annotators.ranking.test_ranker import TEMPLATE, judge_by
from tests.annotators.rubrics.test_taxonomy import SMALL
from tests.conftest import make_recipe, run_here
from tests.pipelines.splitting import put_in, put_in_train

PAIRS = 60


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def make_opinions(n: int = PAIRS) -> list[dict[str, Any]]:
    """Per pair: an expert's gold, a judge in both orders that is right four times in five, and one
    that likes the first place."""
    rng = random.Random(3)
    lines = []
    for i in range(n):
        texts = {"response_a": f"One answer, {i}.", "response_b": f"Quite another answer, {i}."}
        pair = {"prompt": f"Question {i}?", "category": ("odd", "even")[i % 2], **texts}
        truth = float(rng.random() < 0.5)
        right = truth if rng.random() < 0.8 else 1 - truth
        expert = {"annotator": "expert", "kind": "human", "p_a": truth, "gold": True}
        lines.append({**pair, **expert})
        for order in ("ab", "ba"):
            shown_first = 1.0 if order == "ab" else 0.0
            both = {"kind": "llm", "order": order, "tokens_in": 90, "tokens_out": 1, "seconds": 0.5}
            lines.append({**pair, **both, "annotator": "fair", "p_a": 0.1 + 0.8 * right})
            lines.append({**pair, **both, "annotator": "placed", "p_a": shown_first})
    return lines


def fill(lake: Lake, lines: list[dict[str, Any]], folder: Path) -> None:
    file = folder / "opinions.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    source = parse_import(str(file), name="x", layout="judgments", licence="MIT")
    import_pool(lake, new_run(), source)


def test_cards_tell_a_fair_judge_from_one_that_likes_the_first_place(
    lake: Lake, tmp_path: Path
) -> None:
    fill(lake, make_opinions(), tmp_path)
    found = measure_annotators(lake)
    assert (found.sources, len(found.gold)) == (["import:x/expert"], PAIRS)
    cards = found.to_json()["annotators"]
    fair, placed = cards["import:x/fair"], cards["import:x/placed"]
    assert fair["accuracy"] == pytest.approx(0.8, abs=0.12)
    assert (fair["orders_agree"], fair["first_position_rate"]) == (1.0, pytest.approx(0.5))
    assert (placed["orders_agree"], placed["first_position_rate"]) == (0.0, 1.0)
    assert placed["accuracy"] == pytest.approx(0.5)
    assert (fair["tokens"], fair["n"], fair["parse_failures"]) == (PAIRS * 182, 2 * PAIRS, 0)
    assert {row["category"] for row in fair["by_category"]} == {"even", "odd"}
    # the only voice of gold has nobody to be measured against
    assert cards["import:x/expert"]["accuracy"] is None
    assert {"n", "accuracy", "orders_agree", "accuracy_when_orders_agree", "first_position_rate",
            "longer_wins_rate", "ece", "parse_failures", "tokens"} <= set(fair)  # fmt: skip
    text = render_reliability(found)
    assert "import:x/fair" in text and "what gold recommends" in text


def test_a_card_is_written_once_until_it_changes(lake: Lake, tmp_path: Path) -> None:
    fill(lake, make_opinions(20), tmp_path)
    assert record_cards(lake, new_run(), measure_annotators(lake)) == 3
    assert record_cards(lake, new_run(), measure_annotators(lake)) == 0
    before = read_cards(lake)
    fill(lake, make_opinions(30), tmp_path)
    assert record_cards(lake, new_run(), measure_annotators(lake)) == 3
    assert read_cards(lake)["import:x/fair"]["n"] == 60 != before["import:x/fair"]["n"]


def test_our_own_people_are_gold_and_only_their_last_word_counts(
    lake: Lake, tmp_path: Path
) -> None:
    lines = [line for line in make_opinions(4) if line["annotator"] == "fair"]
    fill(lake, lines, tmp_path)
    pair = lake.query("SELECT prompt_id, response_a, response_b FROM judgments LIMIT 1").row(0)
    for stamp, p_a in (("1", 0.0), ("2", 1.0)):
        word = {"judgment_id": stamp, "annotator": "person-z", "kind": "human",
                "prompt_id": pair[0], "response_a": pair[1], "response_b": pair[2], "p_a": p_a,
                "tie": False, "valid": True, "sample_index": 0, "detail": stamp}  # fmt: skip
        lake.append({"judgments": [word]}, run=new_run(), stage="t")
    found = measure_annotators(lake)
    assert (found.sources, found.gold["p_a"].to_list()) == (["person-z"], [1.0])


def test_without_gold_nobody_is_right_or_wrong(lake: Lake, tmp_path: Path) -> None:
    lines = [line for line in make_opinions(10) if line["annotator"] != "expert"]
    fill(lake, lines, tmp_path)
    found = measure_annotators(lake)
    assert len(found.gold) == 0 and found.cards["accuracy"].null_count() == 2
    assert found.cards["orders_agree"].null_count() == 0
    assert "gold: none" in render_reliability(found)
    with pytest.raises(NoSuchAnnotator, match="import:x/fair"):
        measure_annotators(lake, ["nobody"])


def test_an_empty_lake_says_so(lake: Lake) -> None:
    assert "nobody has an opinion" in render_reliability(measure_annotators(lake))


def test_calibrated_labels_read_the_fit_and_leave_the_row_raw(lake: Lake, tmp_path: Path) -> None:
    """A judge that says 0.9 and is right four times in five is read as 0.8 or so."""
    fill(lake, make_opinions(200), tmp_path)
    put_in_train(lake)
    record_cards(lake, new_run(), measure_annotators(lake))
    pool = lake.query("SELECT DISTINCT prompt_id, response_a, response_b FROM judgments")
    ids = [make_pair_id(*row) for row in pool.iter_rows()]
    pairs = pool.with_columns(pair_id=pl.Series(ids), basis=pl.lit("import"))
    content = {"prompts": {"imports": [{"path": "x", "name": "x"}]}, "judges": []}
    lake._cursor().execute("DELETE FROM judgments WHERE gold")
    plain, platt = (
        apply_policy(lake, make_recipe(label={"policy": "imported", **more}, **content), [], pairs)
        for more in ({}, {"calibration": "platt"})
    )
    sure = plain.filter(pl.col("probability") > 0.6)
    read = platt.filter(pl.col("pair_id").is_in(sure["pair_id"].to_list()))
    assert sure["probability"].mean() > read["probability"].mean()
    raw = lake.query("SELECT DISTINCT p_a FROM judgments WHERE annotator = 'import:x/fair'")
    assert set(raw["p_a"].round(3)) == {0.1, 0.9}


def test_what_no_recipe_has_split_is_measured_with_and_calibrates_nobody(
    lake: Lake, tmp_path: Path
) -> None:
    """Gold in test is not even measured with."""
    fill(lake, make_opinions(60), tmp_path)
    unsplit = measure_annotators(lake)
    assert len(unsplit.gold) == 60 and unsplit.calibrations == {}
    prompts = lake.query("SELECT prompt_id FROM prompts ORDER BY prompt_id")["prompt_id"]
    put_in(lake, {key: ("train", "gold-teach")[i % 2] for i, key in enumerate(prompts[:25])})
    put_in(lake, {key: ("test", "gold-exam")[i % 2] for i, key in enumerate(prompts[25:35])})
    found = measure_annotators(lake)
    assert len(found.gold) == 50
    assert found.calibrations["import:x/fair"]["platt"]["n"] == 2 * 25  # each told both ways
    cards = {row["annotator"]: row for row in found.cards.iter_rows(named=True)}
    assert cards["import:x/expert"]["n"] == 50 and cards["import:x/fair"]["n"] == 120


def test_a_judge_without_a_fit_is_named(lake: Lake, tmp_path: Path) -> None:
    fill(lake, make_opinions(3), tmp_path)
    pool = lake.query("SELECT DISTINCT prompt_id, response_a, response_b FROM judgments")
    pairs = pool.with_columns(pair_id=pl.lit("1"), basis=pl.lit("import")).head(1)
    content = {"prompts": {"imports": [{"path": "x", "name": "x"}]}, "judges": []}
    recipe = make_recipe(label={"policy": "imported", "calibration": "isotonic"}, **content)
    with pytest.raises(NotCalibrated, match="assay reliability"):
        apply_policy(lake, recipe, [], pairs)


def test_the_command_prints_and_keeps_the_cards(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake") as lake:
        fill(lake, make_opinions(25), tmp_path)
    done = run_here("reliability", "--lake", tmp_path / "lake", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said["annotators"]) == {"import:x/expert", "import:x/fair", "import:x/placed"}
    with open_lake(tmp_path / "lake") as lake:
        assert set(read_cards(lake)) == set(said["annotators"])
    wrong = run_here("reliability", "--lake", tmp_path / "lake", "--gold", "import:x/expart")
    assert wrong.returncode == 1 and "import:x/expert" in wrong.stderr


def test_cards_keep_what_two_annotators_share(lake: Lake, tmp_path: Path) -> None:
    fill(lake, make_opinions(30), tmp_path)
    found = measure_annotators(lake)
    record_cards(lake, new_run(), found)
    cards = read_cards(lake)
    fair, placed, expert = (f"import:x/{name}" for name in ("fair", "placed", "expert"))
    assert set(cards[fair]["kappas"]) == {placed, expert}
    assert cards[fair]["kappas"][placed] == cards[placed]["kappas"][fair]
    kappas = {(one, two): kappa for one, two, kappa in
              found.kappas.select("annotator_1", "annotator_2", "kappa").iter_rows()}  # fmt: skip
    assert cards[fair]["kappas"][expert] == pytest.approx(kappas[expert, fair])
    assert list(cards[fair]["error_correlations"]) == [placed], "judges alone"
    assert cards[expert]["error_correlations"] == {}


def test_a_what_if_is_shown_and_changes_no_stored_card(tmp_path: Path) -> None:
    """Else the fits that labels are read through would change with it."""
    place = tmp_path / "lake"
    with open_lake(place) as lake:
        fill(lake, make_opinions(25), tmp_path)
        record_cards(lake, new_run(), measure_annotators(lake))
        before = read_cards(lake)
    done = run_here("reliability", "--lake", place, "--json", "--gold", "import:x/placed")
    said = json.loads(done.stdout)
    assert said["gold"]["sources"] == ["import:x/placed"]
    assert said["annotators"]["import:x/fair"]["accuracy"] != before["import:x/fair"]["accuracy"]
    with open_lake(place) as lake:
        assert read_cards(lake) == before


def test_policies_and_failures_are_shown_with_what_is_stale(lake: Lake) -> None:
    text = load_policy_template()
    old = PolicyJudge(MODEL, text, Policy("calm", 1, "Nobody may shout."))
    new = PolicyJudge(MODEL, text, Policy("calm", 2, "Nobody may shout or swear."))
    checker = FailureChecker(MODEL, load_failure_template(), SMALL)
    item = make_item("HELLO!", "hello.")
    for judge in (new, old, checker):
        rows, _ = hold(judge, item, lambda request: "Yes" if request.choices else "It does.")
        lake.append({"judgments": rows}, run=new_run(), stage="judge")
    found = measure_annotators(lake)
    said = found.to_json()
    assert [(row["version"], row["judged"], row["broken"], row["stale"])
            for row in said["policies"]] == [(2, 2, 2, False), (1, 2, 2, True)]  # fmt: skip
    assert {(row["failure_class"], row["checked"], row["found"])
            for row in said["failures"]} == {("facts", 2, 2), ("form", 2, 2)}  # fmt: skip
    assert json.loads(json.dumps(said)) == said
    lines = render_reliability(found).splitlines()
    assert [old.annotator, "calm", "1", "2", "2", "yes"] in [line.split() for line in lines]
    assert any(line.startswith(checker.annotator) and "facts" in line for line in lines)


def test_the_text_shows_flips_failed_calls_the_temperature_and_cycles(
    lake: Lake, tmp_path: Path
) -> None:
    fill(lake, make_opinions(200), tmp_path)
    beats = {("r", "s"), ("s", "p"), ("p", "r")}
    ranker = GroupRanker(PairwiseJudge(MODEL, TEMPLATE), "round_robin")
    rows, _ = hold(ranker, make_item("r", "s", "p"), judge_by(lambda *two: two in beats))
    lake.append({"judgments": rows}, run=new_run(), stage="judge")
    found = measure_annotators(lake)
    text = render_reliability(found)
    head = next(line for line in text.splitlines() if line.startswith("annotator "))
    assert "orders flip" in head and "failed" in head
    assert found.plans[0].enough and f"temperature of {found.plans[0].temperature:g}" in text
    (cycle,) = found.cycles["cycle"].to_list()
    assert " > ".join(response[:12] for response in [*cycle, cycle[0]]) in text
    many = replace(found, cycles=pl.concat([found.cycles] * 7))
    assert "preference cycles (7)" in render_reliability(many)
    assert "2 more" in render_reliability(many)


@pytest.mark.realdata
def test_pandalm_through_the_lake(lake: Lake, realdata: Path) -> None:
    """The kappas and accuracies that the pool is known for: three people, two judges."""
    source = parse_import(str(realdata / "pandalm_999x3.jsonl.gz"), name="pandalm", licence="x")
    import_pool(lake, new_run(), source)
    found = measure_annotators(lake)
    people = found.kappas.filter(
        pl.col("annotator_1").str.contains("/annotator")
        & pl.col("annotator_2").str.contains("/annotator")
    )
    assert sorted(people["kappa"].round(2).to_list()) == [0.85, 0.86, 0.88]
    cards = {row["annotator"]: row for row in found.cards.iter_rows(named=True)}
    # 24 of its answers say nothing: as a share of all that was asked
    gpt = cards["import:pandalm/judge_gpt35"]
    assert (gpt["parse_failures"], round(gpt["accuracy_of_asked"], 3)) == (24, 0.697)
    assert round(cards["import:pandalm/judge_pandalm7b"]["accuracy"], 3) == 0.672
