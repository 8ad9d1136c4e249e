"""Reward models as annotators: whom they speak of, what they never see, and what counts it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.probe import NothingToLearn
from annotators.signals.scoring import SCORING_VERSION
from pipelines.label.juries import JURIES
from pipelines.label.labelling import find_judgments
from pipelines.label.policies import POLICIES
from pipelines.label.reliability import measure_annotators, record_cards
from pipelines.lake.teaching import keep_teaching
from pipelines.ship import annotating
from pipelines.ship.exam import ModelGone, ModelUnknown
from pipelines.ship.publish import Published, VersionMissing, find_version
from pipelines.steps import Work, is_wanted, open_work, publish_settled, run_step, settle
from schemas.recipe import Recipe, RecipeError, parse_recipe

WORDS = ("plum", "pear", "fig", "lime", "kiwi", "date", "rye", "oat", "teff", "corn")


def make_pool(folder: Path) -> Path:
    """40 prompts, each with a good and a bad answer; every fourth pair is vouched for."""
    rows = []
    for i in range(40):
        one, other = WORDS[i % 10], WORDS[(i // 10) * 2]
        rows.append({
            "annotator": "crowd", "kind": "human", "prompt": f"{one} number {i * 7919} or {other}?",
            "response_a": f"good {one} {i}", "response_b": f"bad {other} {i}", "verdict": "A",
            "gold": i % 4 == 0,
        })  # fmt: skip
    file = folder / "pool.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def make_recipe(folder: Path, *models: dict[str, str], name: str = "small") -> Recipe:
    source = {"path": str(make_pool(folder)), "name": "crowd", "layout": "judgments"}
    return parse_recipe({
        "name": name, "prompts": {"imports": [source]}, "label": {"policy": "imported"},
        "split": {"test": 0.3}, "reward_models": list(models),
    })  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """A lake with small@1; vectors of texts follow from their words, of which the first tells."""

    def read_vectors(lake: object, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        made = [np.random.default_rng(list(text.encode())).normal(size=6) / 4 for text in texts]
        goods = [np.eye(6)[0] if text.startswith("good") else np.zeros(6) for text in texts]
        return np.float32(made) + np.float32(goods), np.ones(len(texts), dtype=bool)

    monkeypatch.setattr(annotating, "embed_missing", lambda *_: 0)
    monkeypatch.setattr(annotating, "read_vectors", read_vectors)
    with open_work(str(tmp_path / "lake"), make_recipe(tmp_path), tmp_path) as opened:
        publish_settled(opened, [run_step(opened, "import"), *settle(opened)])
        yield opened


def ask(work: Work, tmp_path: Path, *models: dict[str, str]) -> tuple[Any, pl.DataFrame]:
    """The summary of the step, and what reward models have said."""
    asked = Work(work.lake, work.run, make_recipe(tmp_path, *models), work.base)
    summary = run_step(asked, "annotate")
    return summary, work.lake.query(
        "FROM judgments WHERE kind = 'reward_model' ORDER BY annotator, judgment_id"
    )


def note_model(work: Work, path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text("{}")
    version = find_version(work.lake, "small@1")
    row = {
        "model_id": "c0ffee" * 5 + "00", "name": "small", "version": 1, "base": "minilm",
        "fingerprint": version.fingerprint, "path": str(path), "metrics": "{}",
        "config": json.dumps({"seed": 7, "max_length": 24}),
    }  # fmt: skip
    work.lake.append({"models": [row]}, run=work.run, stage="test")


def find_prompts(work: Work, split: str) -> set[str]:
    return set(
        work.lake.query("SELECT prompt_id FROM version_pairs WHERE split = ?", [split])["prompt_id"]
    )


def test_a_model_is_silent_about_what_it_learned_from(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(folder: Path, questions: Sequence[Any], max_length: int) -> Any:
        assert (folder, max_length) == (tmp_path / "model", 24)
        assert all([m["role"] for m in prompt] == ["user"] for prompt, _ in questions)
        kind = [np.array([3.0 if text.startswith("good") else 1.0 for text in texts])
                for _, texts in questions]  # fmt: skip
        return kind, [False] * len(questions)

    monkeypatch.setattr(annotating, "score_responses", score)
    spec = {"version": "small@1"}
    with pytest.raises(ModelUnknown, match="`assay train NAME@V` trains one"):
        ask(work, tmp_path, spec)
    note_model(work, tmp_path / "model")
    summary, rows = ask(work, tmp_path, spec)
    assert set(rows["annotator"]) == {f"reward_model:c0ffeec0ffee@{SCORING_VERSION}"}
    assert set(rows["prompt_id"]) == find_prompts(work, "test")
    n_taught = len(find_prompts(work, "train"))
    assert n_taught > 20 and len(rows) == 40 - n_taught > 4
    assert (summary.rows_in, summary.kept) == (40, len(rows))
    assert summary.dropped == {"learned_from": n_taught}
    contents = dict(work.lake.query("SELECT response_id, content FROM responses").iter_rows())
    for first, p_a in rows.select("response_a", "p_a").iter_rows():
        gap = 2.0 if contents[first].startswith("good") else -2.0
        assert p_a == pytest.approx(1 / (1 + np.exp(-gap)), abs=1e-8)

    again, same = ask(work, tmp_path, spec)
    assert again.extra["made"] == 0 and same.equals(rows)
    old = [{**row, "annotator": "reward_model:c0ffeec0ffee", "judgment_id": f"old-{at}"}
           for at, row in enumerate(rows.drop("run_id", "created_at").to_dicts())]  # fmt: skip
    work.lake.append({"judgments": old}, run=work.run, stage="test")
    view = work.look()
    said = find_judgments(work.lake, work.recipe, view.judges, view.pairs, view.variants)
    heard = said.filter(pl.col("kind") == "reward_model")["annotator"]
    assert set(heard) == set(rows["annotator"]), "not by what it said under older rules"

    (tmp_path / "model" / "config.json").unlink()
    assert ask(work, tmp_path, spec)[0].extra["made"] == 0, "nothing is left to ask"


def test_a_model_that_is_gone_says_how_to_train_it(work: Work, tmp_path: Path) -> None:
    note_model(work, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ModelGone, match="`assay train small@1 --out FOLDER`"):
        ask(work, tmp_path, {"version": "small@1"})


def test_a_reward_without_a_number_is_no_opinion(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_model(work, tmp_path / "model")
    blank = np.full(2, np.nan)
    monkeypatch.setattr(
        annotating, "score_responses", lambda _, asked, __: ([blank] * len(asked), [])
    )
    summary, rows = ask(work, tmp_path, {"version": "small@1"})
    assert summary.extra["invalid"] == len(rows) > 0
    assert not rows["valid"].any() and rows["p_a"].null_count() == len(rows)
    assert set(rows["reason"]) == {"no finite reward"}


def test_a_probe_speaks_of_every_pair_and_has_a_card(work: Work, tmp_path: Path) -> None:
    summary, rows = ask(work, tmp_path, {"version": "small@1", "through": "probe"})
    assert (summary.rows_in, summary.kept, summary.dropped) == (40, 40, {})
    assert summary.extra["made"] == len(rows) == 40
    (name,) = set(rows["annotator"])
    found = measure_annotators(work.lake)
    vouched = work.lake.query("SELECT prompt_id FROM judgments WHERE gold")
    assert len(vouched) == 10 and len(found.gold) == len(keep_teaching(work.lake, vouched)) > 0
    card = found.cards.filter(pl.col("annotator") == name).row(0, named=True)
    assert card["n_gold"] == len(found.gold) and card["accuracy"] > 0.8, (
        "the planted word was learned"
    )
    assert record_cards(work.lake, work.run, found) >= 1
    stored = work.lake.query(
        "SELECT specification, card FROM annotators WHERE annotator = ? AND card IS NOT NULL",
        [name],
    )
    assert json.loads(stored["specification"][0])["version"] == "small@1"
    assert ask(work, tmp_path, {"version": "small@1", "through": "probe"})[0].extra["made"] == 0


@pytest.mark.parametrize("through", ["curved_probe", "probe_ensemble"])
def test_other_shapes_of_the_probe_speak_as_themselves(
    work: Work, tmp_path: Path, through: str
) -> None:
    rows = ask(work, tmp_path, {"version": "small@1", "through": through})[1]
    assert len(rows) == 40 and rows["valid"].all()
    (name,) = set(rows["annotator"])
    assert name.startswith(f"{through}:")
    card = measure_annotators(work.lake).cards.filter(pl.col("annotator") == name)
    assert card["accuracy"].item() > 0.8, "the planted word was learned"


def test_no_label_of_the_test_side_reaches_a_probe(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = find_version(work.lake, "small@1")
    view = work.look()
    asked = annotating._lay_out(view.prompts, view.pairs, view.rollouts)
    read = annotating.read_pairs

    def speak(turned: str) -> np.ndarray:
        def read_turned(lake: object, version: Published) -> pl.DataFrame:
            rows, mine = read(lake, version), pl.col("split") == turned
            first = pl.when(mine).then("rejected_id").otherwise("chosen_id")
            second = pl.when(mine).then("chosen_id").otherwise("rejected_id")
            return rows.with_columns(chosen_id=first, rejected_id=second)

        monkeypatch.setattr(annotating, "read_pairs", read_turned)
        return annotating._find_probe(work.lake, work.run, version, asked, "probe").speak(asked)

    plain = speak("nobody")
    assert np.array_equal(speak("test"), plain)
    assert not np.allclose(speak("train"), plain), "a label of the train side does"


def test_no_policy_counts_what_learned_from_labels(work: Work, tmp_path: Path) -> None:
    def label() -> dict[str, pl.DataFrame]:
        view = work.look()
        said = find_judgments(work.lake, work.recipe, view.judges, view.pairs, view.variants)
        return {
            name: policy(view.pairs, said, 0.55) for name, policy in {**POLICIES, **JURIES}.items()
        }

    before = label()
    assert any(len(found.filter(pl.col("status") == "labelled")) for found in before.values())
    ask(work, tmp_path, {"version": "small@1", "through": "probe"})
    for name, found in label().items():
        assert found.equals(before[name]), name


def test_a_version_must_be_there_and_large_enough(work: Work, tmp_path: Path) -> None:
    with pytest.raises(VersionMissing, match="small@2: no such version"):
        ask(work, tmp_path, {"version": "small@2", "through": "probe"})
    few = make_recipe(tmp_path, name="few").model_copy(
        update={"mix": make_recipe(tmp_path).mix.model_copy(update={"total": 1})}
    )
    publishing = Work(work.lake, work.run, few, work.base)
    publish_settled(publishing, settle(publishing))
    with pytest.raises(NothingToLearn, match="the train side of few@1 has"):
        ask(work, tmp_path, {"version": "few@1", "through": "probe"})


def test_a_recipe_names_a_version_in_full(tmp_path: Path) -> None:
    for wrong in ("small", "small@", "small@v1", "@1", "small@0"):
        with pytest.raises(RecipeError, match=r"reward_models\.0\.version"):
            make_recipe(tmp_path, {"version": wrong})
    assert is_wanted(make_recipe(tmp_path, {"version": "small@1"}), "annotate")
    assert not is_wanted(make_recipe(tmp_path), "annotate")
