"""A pool read by the light of gold, through the lake: planted noise is found, every pair is
accounted for, and exam gold has no say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from annotators.loop.stacking import TooLittleGold
from pipelines.label.loop.auditing import measure_flips
from pipelines.label.loop.recycling import NoGold
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from pipelines.lake.teaching import keep_teaching
from pipelines.ship.card import write_card
from pipelines.ship.explain import explain_pair, render_explanation
from pipelines.ship.report import gather_facts, render_report
from pipelines.ship.withdrawn import DENIED, WITHDRAWN, find_withdrawn
from pipelines.steps import Work, open_work, publish_settled, run_step, settle
from schemas.recipe import Recipe
from tests.conftest import run_here
from tests.pipelines.label.loop.planted_pool import (
    PlantedPool,
    make_pool_recipe,
    plant_pool,
    use_numbers,
    write_pool,
)


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    use_numbers(monkeypatch)


@contextmanager
def open_pool(
    folder: Path, recipe: Recipe, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Work]:
    run = new_run(recipe, tell=tell)
    with open_work(str(folder / "lake"), recipe, None, run) as work:
        for source in recipe.prompts.imports:
            import_pool(work.lake, work.run, source)
        settle(work)
        yield work


def find_truth(work: Work, pool: PlantedPool) -> pl.DataFrame:
    """pair_id, truth, labelled (what the pool says), both as whether response_a is better."""
    view = work.look()
    contents = dict(work.lake.query("SELECT response_id, content FROM responses").iter_rows())
    known = {
        " ".join(f"{value:.6f}" for value in x): at for at, x in enumerate(pool.apart)
    }  # fmt: skip
    rows = []
    for pair_id, a, b in view.pairs.select("pair_id", "response_a", "response_b").iter_rows():
        is_first = contents[a] in known
        at = known[contents[a if is_first else b]]
        rows.append((pair_id, bool(pool.truth[at]) == is_first, bool(pool.label[at]) == is_first))
    return pl.DataFrame(rows, schema=["pair_id", "truth", "came"], orient="row")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Work, PlantedPool]]:
    folder = tmp_path_factory.mktemp("pool")
    pool = plant_pool()
    with pytest.MonkeyPatch.context() as patch:
        use_numbers(patch)
        with open_pool(folder, make_pool_recipe(write_pool(folder / "pool.jsonl", pool))) as work:
            yield work, pool


def test_kept_labels_err_half_as_often_and_every_pair_is_accounted_for(
    ground: tuple[Work, PlantedPool],
) -> None:
    work, pool = ground
    view = work.look()
    truth = find_truth(work, pool)
    labels = view.labels.join(truth, on="pair_id")
    assert labels["status"].value_counts().height == 2  # labelled and dropped
    gold = labels.filter(pl.col("tier") == "gold")
    assert (gold["p_a"].round() == gold["truth"]).all() and len(gold) == 120
    silver = labels.filter(pl.col("tier") == "silver")
    wrong = (silver["p_a"] > 0.5) != silver["truth"]
    raw = labels.filter(pl.col("tier").ne_missing("gold"))
    assert wrong.mean() < (raw["came"] != raw["truth"]).mean() / 2
    assert len(silver) > 0.6 * len(raw)
    flips = labels.filter(pl.col("decided_by") == "flip")
    assert len(flips) and ((flips["p_a"] > 0.5) == flips["truth"]).mean() > 0.8
    assert ((flips["p_a"] > 0.5) != flips["came"]).all()
    kept = labels.filter(pl.col("decided_by") == "reading")
    assert ((kept["p_a"] > 0.5) == kept["came"]).all()


def test_what_is_dropped_or_turned_says_why(ground: tuple[Work, PlantedPool]) -> None:
    work, _ = ground
    view = work.look()
    rows = work.lake.query("SELECT * FROM decisions WHERE scope = ?", [view.scopes["label"]])
    labels = view.labels
    dropped = rows.filter(pl.col("action") == "drop")
    flipped = rows.filter(pl.col("action") == "flip")
    assert set(dropped["item_id"]) == set(labels.filter(pl.col("status") == "dropped")["pair_id"])
    assert set(flipped["item_id"]) == set(labels.filter(pl.col("decided_by") == "flip")["pair_id"])
    assert set(flipped["rule"]) == {"flip_unanimous"}
    assert set(dropped["rule"]) <= {"unsure", "label_rejected"}
    unsure = dropped.filter(pl.col("rule") == "unsure")
    assert unsure["value"].is_between(0.25, 0.75).all() and (unsure["threshold"] == 0.75).all()
    again = run_step(work, "label")
    assert again.flipped == len(flipped) and sum(again.dropped.values()) == len(dropped)


def test_a_second_look_reads_nothing_anew(ground: tuple[Work, PlantedPool]) -> None:
    work, _ = ground
    before = work.lake.snapshot()
    told = run_step(work, "recycle").extra["reading"]
    assert work.lake.snapshot() == before
    assert told["gold"] < 120  # of which some are kept for the exam
    assert {voice["voice"] for voice in told["voices"]} >= {"label", "probe:gold", "probe:best"}
    assert len(told["jury"]["judges"]) == 3
    assert told["readers"]["together"]["accuracy"] > told["readers"]["gold model"]["accuracy"]


def test_exam_gold_decides_its_own_label_and_nothing_else(tmp_path: Path) -> None:
    """With every exam answer turned round, the readings are the same."""
    file = write_pool(tmp_path / "pool.jsonl", plant_pool(220, seed=3))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = []
    exam: set[str] = set()
    for turned in (False, True):
        for line in lines:
            if turned and line.get("gold") and line["prompt"] in exam:
                line["p_a"] = 1 - line["p_a"]
        file.write_text("\n".join(json.dumps(line) for line in lines))
        (tmp_path / str(turned)).mkdir()
        with open_pool(tmp_path / str(turned), make_pool_recipe(file)) as work:
            view = work.look()
            held = view.prompts.filter(pl.col("split") == "test")
            exam = {messages[0]["content"] for messages in held["messages"]}
            assert view.read is not None and len(exam) > 20
            found.append((view.read.outcomes, view.labels))
    (first, labels), (second, turned_labels) = found
    assert first.equals(second)
    differ = labels.join(turned_labels, on="pair_id").filter(pl.col("p_a") != pl.col("p_a_right"))
    assert len(differ) > 10 and set(differ["tier"]) == {"gold"}


def test_versions_freeze_it_and_publishing_again_changes_nothing(
    ground: tuple[Work, PlantedPool],
) -> None:
    work, pool = ground
    stages = settle(work)
    version = publish_settled(work, stages)
    assert version.metrics["tiers"].keys() == {"gold", "silver"}
    loop = version.metrics["loop"]
    truth = find_truth(work, pool)
    labels = work.look().labels.join(truth, on="pair_id").filter(pl.col("tier") == "silver")
    right = ((labels["p_a"] > 0.5) == labels["truth"]).mean()
    every, *by_category = loop["precision"]
    assert every["low"] < right < every["high"] and every["n"] == len(labels)
    assert [row["category"] for row in by_category] == ["chat", "code"]
    assert loop["exam"][0]["n"] > 15 and loop["exam"][0]["low"] < right
    assert loop["flips"]["asked"] >= 1 and loop["flips"]["right"] is None
    assert not publish_settled(work, settle(work)).new


def test_card_and_report_say_how_right_the_labels_are(ground: tuple[Work, PlantedPool]) -> None:
    work, _ = ground
    version = publish_settled(work, settle(work))
    card = write_card(work.lake, version)
    assert "How right the read labels are" in card and "| all | " in card
    assert "labels that were turned round" in card and "judges whose errors correlate" in card
    page = render_report(gather_facts(work.lake, version.name, version.version))
    for words in ("The gold loop", "Estimated right", "probe:<wbr>best", "judges whose errors"):
        assert words in page


def test_gold_withdrawn_after_publishing_marks_the_version(
    ground: tuple[Work, PlantedPool], tmp_path: Path
) -> None:
    """A newer edition of the pool denies one gold pair and no longer vouches for another."""
    work, _ = ground
    assert len(find_withdrawn(work.lake)) == 0
    source = work.recipe.prompts.imports[0]
    rows = [json.loads(line) for line in Path(source.path).read_text().splitlines()]
    gold = [row for row in rows if row.get("gold")][:2]
    gold[0]["p_a"], gold[1]["gold"] = 1 - gold[0]["p_a"], False
    (tmp_path / "edition.jsonl").write_text("\n".join(json.dumps(row) for row in gold))
    newer = source.model_copy(update={"path": str(tmp_path / "edition.jsonl")})
    import_pool(work.lake, work.run, newer)
    found = find_withdrawn(work.lake)
    assert sorted(found["why"]) == [DENIED, WITHDRAWN]
    place = Path(work.lake.place.folder or "").parent / "lake"
    listed = run_here("versions", "--lake", place)
    assert "gold of 2 of its pairs" in listed.stdout
    told = render_explanation(explain_pair(work.lake, found["pair_id"][0]))
    assert f"its gold is {found['why'][0]}" in told


def test_people_say_how_often_a_flip_was_right(ground: tuple[Work, PlantedPool]) -> None:
    """Whoever answers the audit of a flip makes gold of it, and the flip is counted as right or
    wrong."""
    work, pool = ground
    reviews = work.lake.query("SELECT * FROM reviews WHERE reason = 'flip_audit'")
    assert keep_teaching(work.lake, reviews).height == reviews.height > 0  # none of the exam's
    truth = dict(find_truth(work, pool).select("pair_id", "truth").iter_rows())
    rows, right = [], 0
    for row in reviews.iter_rows(named=True):
        better = truth[row["pair_id"]]
        right += (json.loads(row["why"])["flipped_to"] == "a") == better
        rows.append(
            {"judgment_id": row["review_id"], "annotator": "people:batch", "kind": "human",
             "prompt_id": row["prompt_id"], "response_a": row["response_a"],
             "response_b": row["response_b"], "p_a": float(better), "tie": False, "valid": True,
             "sample_index": 0, "gold": True}
        )  # fmt: skip
    work.lake.append({"judgments": rows}, run=work.run, stage="test")
    found = measure_flips(work.lake, reviews)
    assert found["asked"] == found["answered"] == len(rows)
    assert found["right"] == right / len(rows)
    assert measure_flips(work.lake, reviews[:1])["asked"] == 1
    settle(work)
    labels = work.look().labels.filter(pl.col("pair_id").is_in(reviews["pair_id"].implode()))
    assert set(labels["tier"]) == {"gold"}


@pytest.mark.parametrize(("gold", "error", "says"), [
    (0, NoGold, "no gold pair teaches"),
    (30, TooLittleGold, "too few"),
])  # fmt: skip
def test_without_enough_gold_it_says_how_much(
    tmp_path: Path, gold: int, error: type[Exception], says: str
) -> None:
    file = write_pool(tmp_path / "pool.jsonl", plant_pool(90), gold=gold)
    with pytest.raises(error, match=says), open_pool(tmp_path, make_pool_recipe(file)):
        pass


def test_odd_gold_and_judges_are_told(tmp_path: Path) -> None:
    pool = plant_pool(200, seed=5)
    pool.said[:, 1] = pool.said[:, 0]
    file = write_pool(tmp_path / "pool.jsonl", pool, categories=("code",))
    lines = file.read_text().splitlines()
    denied = []
    for line in lines:
        row = json.loads(line)
        if row.get("gold") and len(denied) < 8:
            denied.append(json.dumps({**row, "annotator": "others", "p_a": 1 - row["p_a"]}))
    turned = [json.loads(line) for line in lines if "judge-2" in line]
    turned = [{**row, "annotator": "turned", "p_a": 1 - row["p_a"]} for row in turned]
    rare = {**json.loads(lines[0]), "annotator": "rare", "kind": "llm"}
    file.write_text("\n".join([*lines, *denied, *map(json.dumps, [*turned, rare])]))
    lines = []
    with open_pool(tmp_path, make_pool_recipe(file), lines.append) as work:
        reading = run_step(work, "recycle").extra["reading"]
    assert reading["jury"]["sentences"] and {*reading["jury"]["sentences"]} <= {*lines}
    assert {*reading["notices"]} <= {*lines}
    told = " ".join(reading["notices"])
    assert "import:pool/turned: no better than a coin" in told and "(pool)" in told
    weights = {voice["voice"]: voice["weight"] for voice in reading["voices"]}
    assert weights["import:pool/turned"] == 0 < weights["import:pool/judge-2"]
    assert "contradicts itself" in told and "import:pool/rare: not heard" in told
    assert "judge-1 says the same as import:pool/judge-0" in told
    assert "all pairs are of the category code" in told


def test_a_new_category_without_gold_is_told(tmp_path: Path) -> None:
    first = write_pool(tmp_path / "pool.jsonl", plant_pool(200, seed=6))
    late = write_pool(tmp_path / "late.jsonl", plant_pool(40, seed=7), gold=0,
                      categories=("poems",), first=900)  # fmt: skip
    recipe = make_pool_recipe(first)
    source = recipe.prompts.imports[0]
    both = [source, source.model_copy(update={"path": str(late), "name": "late"})]
    recipe = recipe.model_copy(
        update={"prompts": recipe.prompts.model_copy(update={"imports": both})}
    )
    with open_pool(tmp_path, recipe) as work:
        told = " ".join(run_step(work, "recycle").extra["reading"]["notices"])
    assert "poems (0)" in told


def test_no_pair_is_lost_where_the_pool_has_no_labels_and_no_judges(tmp_path: Path) -> None:
    """Imported gold and reward models alone: what is read has the side they are sure of."""
    pool = plant_pool(200, judges=1, seed=8)
    lines = []
    for line in write_pool(tmp_path / "all.jsonl", pool).read_text().splitlines():
        row = json.loads(line)
        if row["annotator"] == "judge-0":
            row["kind"] = "reward_model"
        if row["annotator"] != "crowd":
            lines.append(json.dumps(row))
    (tmp_path / "pool.jsonl").write_text("\n".join(lines))
    with open_pool(tmp_path, make_pool_recipe(tmp_path / "pool.jsonl")) as work:
        labels = work.look().labels.join(find_truth(work, pool), on="pair_id")
    silver = labels.filter(pl.col("tier") == "silver")
    assert set(silver["decided_by"]) == {"reading"}
    assert ((silver["p_a"] > 0.5) == silver["truth"]).mean() > 0.85
    assert len(labels) == 200 and np.isfinite(labels["p_a"].to_numpy()).all()
