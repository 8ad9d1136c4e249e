"""Training and exam on real TRL: the export as it is, the worker, the two baselines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.recipes import find_recipe
from pipelines.ship import exam, train_worker
from pipelines.ship.exam import (
    EXAM,
    ModelGone,
    ModelUnknown,
    find_model,
    make_heading,
    render_exam,
    take_exam,
)
from pipelines.ship.export import export_version, make_rows
from pipelines.ship.publish import find_version, publish_version
from pipelines.ship.train import (
    _make_config,
    _make_environment,
    _needs_version_2,
    find_models,
    train_model,
)
from pipelines.steps import SETTLING_STEPS, open_work, publish_settled, run_step, settle
from schemas.mixing import MixSpec
from schemas.recipe import TrainSpec


@pytest.fixture(scope="module")
def lake_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the shipped pool published as tiny@1, and once more as twin@1."""
    folder = tmp_path_factory.mktemp("lake")
    recipe, base = find_recipe("tiny")
    for name in ("tiny", "twin"):
        with open_work(str(folder), recipe.model_copy(update={"name": name}), base) as work:
            summaries = [run_step(work, step) for step in ("import", *SETTLING_STEPS)]
            version = publish_version(work.lake, work.run, work.look(), summaries)
        assert (version.name, version.version, version.rows) == (name, 1, 12)
    return folder


@pytest.fixture
def lake(lake_folder: Path) -> Iterator[Lake]:
    with open_lake(lake_folder) as opened:
        yield opened


def note_model(lake: Lake, model_id: str, path: Path, *, there: bool = True) -> None:
    """A row about a model of tiny@1 in the folder `path`, which holds as little as can be."""
    if there:
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
    row = {
        "model_id": model_id, "name": "tiny", "version": 1, "base": "minilm",
        "fingerprint": find_version(lake, "tiny").fingerprint, "path": str(path),
        "config": json.dumps({"seed": 7, "max_length": 24}), "metrics": "{}",
    }  # fmt: skip
    lake.append({"models": [row]}, run=new_run(), stage="test")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_export_trains_in_trl_as_it_is(lake: Lake, tmp_path: Path) -> None:
    from datasets import load_from_disk
    from trl import RewardConfig, RewardTrainer

    from pipelines.ship.train_worker import load_reward_model

    folder = export_version(lake, find_version(lake, "tiny"), tmp_path / "export")
    data = load_from_disk(str(folder))
    assert set(data) == {"train", "test"}
    assert {"prompt", "chosen", "rejected", "margin"} <= set(data["train"].column_names)
    model, tokenizer = load_reward_model("minilm")
    trainer = RewardTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=data["train"],
        eval_dataset=data["test"],
        args=RewardConfig(
            output_dir=str(tmp_path / "trl"), max_steps=2, per_device_train_batch_size=4,
            report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
            logging_steps=1, save_strategy="no",
        ),
    )  # fmt: skip
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert trainer.state.global_step == 2
    assert len(losses) == 2 and np.isfinite(losses).all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_is_trained_once_and_examined_beside_its_baselines(
    lake: Lake, tmp_path: Path
) -> None:
    version = find_version(lake, "tiny")
    spec = TrainSpec(epochs=1, batch_size=4, max_length=64)
    model = train_model(lake, new_run(), version, spec, 1, tmp_path)
    assert model.new and model.metrics["steps"] >= 2
    assert model.metrics["train_pairs"] + model.metrics["dropped_too_long"] < version.rows
    again = train_model(lake, new_run(), version, spec, 1, tmp_path)
    assert (again.new, again.model_id) == (False, model.model_id)
    for other, seed in ((spec.model_copy(update={"epochs": 2.0}), 1), (spec, 2)):
        assert _make_config(other, seed) != model.config == _make_config(spec, 1)

    result = take_exam(lake, new_run(), find_model(lake, model.model_id[:10]))
    # nobody verified these labels, and nobody here judged them either
    assert result["heading"] == "agreement with the imported labels" != EXAM
    assert result["label_source"] == "import"
    assert result["n"] >= 2
    assert set(result["baselines"]) == {"longest answer", "coin"}
    assert 0 <= result["ci"][0] <= result["score"] <= result["ci"][1] <= 1
    text = render_exam(result)
    assert "reward model" in text and "coin" in text and result["heading"] in text
    assert take_exam(lake, new_run(), model) == result
    twin = find_version(lake, "twin")
    of_twin = train_model(lake, new_run(), twin, spec, 1, tmp_path)
    assert (of_twin.new, of_twin.model_id, of_twin.name) == (False, model.model_id, "twin")
    assert take_exam(lake, new_run(), of_twin) == result | {"version": "twin@1"}
    stored = lake.query("SELECT by_category FROM exams WHERE model_id = ?", [model.model_id])
    assert len(stored) == 1
    assert json.loads(stored["by_category"][0])

    shutil.rmtree(model.path)
    moved = train_model(lake, new_run(), version, spec, 1, tmp_path / "elsewhere")
    assert (moved.new, moved.model_id) == (True, model.model_id)
    assert find_model(lake, model.model_id).path == moved.path != model.path


def test_a_model_is_found_by_the_content_of_a_version(lake: Lake, tmp_path: Path) -> None:
    note_model(lake, "c0ffee00", tmp_path / "m")
    found = find_model(lake, "twin@1")
    assert (found.model_id, found.name, found.version) == ("c0ffee00", "twin", 1)
    assert find_model(lake, "twin") == find_model(lake, "twin@v1") == found
    assert find_model(lake, "c0ff").name == "tiny"
    with pytest.raises(ModelUnknown, match=r"twin@2: no such model; trained here: .*c0ffee00"):
        find_model(lake, "twin@2")


def test_the_newest_folder_that_holds_a_model_counts(lake: Lake, tmp_path: Path) -> None:
    for name in ("first", "second"):
        note_model(lake, "d1ce", tmp_path / name)
    note_model(lake, "d1ce", tmp_path / "third", there=False)
    assert find_model(lake, "d1ce").path == tmp_path / "second"
    shutil.rmtree(tmp_path / "second")
    assert find_model(lake, "d1ce").path == tmp_path / "first"
    shutil.rmtree(tmp_path / "first")
    assert len(find_models(lake, "model_id = ?", ["d1ce"])) == 1
    model = replace(find_model(lake, "d1ce"), name="twin")
    with pytest.raises(ModelGone, match=rf"{tmp_path}/third: .*`assay train twin@1 --out"):
        take_exam(lake, new_run(), model)


def test_an_exam_takes_seed_and_length_from_the_training(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_model(lake, "5eed", tmp_path / "m")
    limits = []

    def score_alike(folder: Path, asked: list[object], max_length: int) -> object:
        limits.append(max_length)
        return [np.zeros(2) for _ in asked], [True, *[False] * (len(asked) - 1)]

    monkeypatch.setattr(exam, "score_responses", score_alike)
    model = find_model(lake, "5eed")
    first = take_exam(lake, new_run(), model)
    assert limits == [24]
    assert first["score"] == 0.5 and first["cut"] == 1
    assert take_exam(lake, new_run(), model) == first
    assert "the whole of 1 item:" in render_exam(first)


def test_alike_is_not_certain_and_no_number_is_no_verdict(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All right is an interval below 1 nevertheless; a reward that is no number loses nothing."""
    note_model(lake, "a11", tmp_path / "m")
    model = find_model(lake, "a11")
    held = len(exam.keep_held_out(make_rows(lake, find_version(lake, "tiny")))[0])

    def score(blank: int) -> object:
        rewards = [np.array([np.nan if at < blank else 1.0, 0.0]) for at in range(held)]
        return lambda *_: (rewards, [False] * held)

    for blank in (0, 1, held):
        monkeypatch.setattr(exam, "score_responses", score(blank))
        monkeypatch.setattr(exam, "EXAM_VERSION", 100 + blank)
        found = take_exam(lake, new_run(), model)
        assert (found["n"], found["unscored"]) == (held - blank, blank)
        assert found["score"] == (1.0 if blank < held else None)
        assert blank == held or (found["ci"][0] < 0.9 and found["ci"][1] == 1.0)
        assert (f"{blank} pairs are not scored" in render_exam(found)) == (blank > 0)


def test_a_score_is_headed_by_who_decided_the_labels() -> None:
    assert make_heading(["human", "verifier"]) == EXAM
    assert make_heading(["llm"]) == "agreement with its own judge"
    both = "agreement with the imported labels and its own judge"
    assert make_heading(["import", "llm"]) == both


def test_a_checkpoint_folder_counts_by_its_files(tmp_path: Path) -> None:
    spec = TrainSpec(base=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = _make_config(spec, 1)
    assert _make_config(spec, 1) == before
    (tmp_path / "model.safetensors").write_bytes(b"another")
    assert _make_config(spec, 1) != before
    assert "base_revision" not in _make_config(TrainSpec(), 1), "the ids of others stay"


def test_what_is_new_in_training_changes_no_other_id() -> None:
    plain = _make_config(TrainSpec(), 1)
    assert not plain.keys() & {"labels", "processes"}
    for setting in ({"labels": "soft"}, {"processes": 2}):
        assert _make_config(TrainSpec(**setting), 1) == plain | setting
    with pytest.raises(ValueError, match="make batch_size a multiple of processes"):
        TrainSpec(batch_size=16, processes=3)


def test_only_what_trains_otherwise_is_trained_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_worker, "LEAST_GOLD", 2)
    rows = {"split": ["train", "train", "test"], "probability": [0.9, 1.0, 0.5],
            "weight": [1.0, 1.0, 2.0], "tier": ["gold", "silver", "gold"]}  # fmt: skip
    spec = TrainSpec()
    assert not _needs_version_2(pl.DataFrame(rows), spec), "the test side never counts"
    for column, value in (("weight", 0.5), ("probability", 0.5), ("tier", "gold")):
        other = pl.DataFrame(rows | {column: [rows[column][0], value, rows[column][2]]})
        assert _needs_version_2(other, spec), column
    gold = pl.DataFrame(rows | {"tier": ["gold"] * 3})
    assert not _needs_version_2(gold, TrainSpec(epochs=1)), "one epoch leaves nothing to choose"


def test_weights_by_margin_are_exported(lake_folder: Path) -> None:
    recipe, base = find_recipe("tiny")
    recipe = recipe.model_copy(update={"name": "weighed", "mix": MixSpec(weigh="margin")})
    with open_work(str(lake_folder), recipe, base) as work:
        version = publish_settled(work, settle(work))
        rows = make_rows(work.lake, version)
    assert len(rows) == 12 and rows["margin"].min() > 0
    expected = 1 + 0.1 * (1 - np.exp(-0.5 * rows["margin"].to_numpy()))
    assert rows["weight"].to_numpy() == pytest.approx(expected, abs=1e-8)


def test_the_trainer_sees_the_gpus_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in _make_environment()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert _make_environment()["CUDA_VISIBLE_DEVICES"] == os.environ["CUDA_VISIBLE_DEVICES"]
