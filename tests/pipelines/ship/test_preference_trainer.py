"""The trainer's loss against TRL's own, and the worker's rows, gold and processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.ship.train import _make_environment, _make_launcher
from pipelines.ship.train_worker import _check_processes
from tests.conftest import ROOT

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "user", "assistant", ":", "say", "yes", "no",
         "well", "so", "why")  # fmt: skip
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of a few thousand weights with a vocabulary of its own."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def make_rows(count: int, **columns: Callable[[int], Any]) -> Rows:
    """Pairs whose chosen side says yes, of which each has a prompt of its own."""
    made = []
    for i in range(count):
        asked = " ".join(WORDS[10 + (i // 4**place) % 4] for place in range(4))
        row = {
            "prompt": [{"role": "user", "content": asked}],
            "chosen": [{"role": "assistant", "content": "yes yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
            "margin": 0.6, "probability": 0.8, "weight": 1.0, "tier": "silver",
        }  # fmt: skip
        made.append(row | {name: of(i) for name, of in columns.items()})
    return made


def make_job(tmp_path: Path, base: Path, rows: Rows, **settings: Any) -> dict[str, Any]:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(
        str(tmp_path / "data")
    )
    job = {
        "data": str(tmp_path / "data"), "out": str(tmp_path / "out"), "base": str(base),
        "epochs": 1, "batch_size": 4, "learning_rate": 1e-2, "max_length": 64, "labels": "margin",
        "processes": 1, "seed": 3,
    }  # fmt: skip
    return job | settings


def run_trl(trainer_class: Any, base: Path, rows: Rows, out: Path, **more: Any) -> Any:
    import datasets
    import transformers
    from trl import RewardConfig

    from pipelines.ship.train_worker import load_reward_model

    transformers.set_seed(1)
    model, tokenizer = load_reward_model(str(base))
    made = {name: of(tokenizer) for name, of in more.items()}
    trainer = trainer_class(
        model=model, processing_class=tokenizer, train_dataset=datasets.Dataset.from_list(rows),
        args=RewardConfig(
            output_dir=str(out), num_train_epochs=2, per_device_train_batch_size=4,
            learning_rate=1e-2, report_to="none", use_cpu=True, bf16=False, logging_steps=1,
            gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, seed=1,
        ),
        **made,
    )  # fmt: skip
    trainer.train()
    return trainer


def read_curve(trainer: Any) -> list[dict[str, float]]:
    timed = ("runtime", "per_second", "flos")
    return [
        {key: value for key, value in row.items() if not any(part in key for part in timed)}
        for row in trainer.state.log_history
    ]


def run_ours(base: Path, rows: Rows, out: Path) -> Any:
    from pipelines.ship.preference_trainer import PreferenceCollator, PreferenceTrainer

    return run_trl(
        PreferenceTrainer, base, rows, out,
        data_collator=lambda tokenizer: PreferenceCollator(pad_token_id=tokenizer.pad_token_id),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_certain_rows_of_weight_one_give_the_stock_figures(base: Path, tmp_path: Path) -> None:
    from trl import RewardTrainer

    # ten rows in batches of four: the last batch is smaller
    rows = make_rows(10, margin=lambda i: i / 10, p_chosen=lambda i: 1.0)
    stock = run_trl(RewardTrainer, base, rows, tmp_path)
    ours = run_ours(base, rows, tmp_path)
    assert len(read_curve(stock)) == 7
    assert read_curve(ours) == read_curve(stock)
    for name, value in stock.model.state_dict().items():
        assert torch.equal(ours.model.state_dict()[name], value), name

    halves = [row | {"weight": 0.5} for row in rows]
    lighter = run_ours(base, halves, tmp_path)
    first, stock_first = read_curve(lighter)[0]["loss"], read_curve(stock)[0]["loss"]
    assert first == pytest.approx(stock_first / 2, rel=1e-4), "weights reach the loss undivided"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_rows_loss_is_what_the_reading_says(base: Path, tmp_path: Path) -> None:
    rows = make_rows(
        4, weight=lambda i: [1.0, 2.0, 0.0, 1.0][i], p_chosen=lambda i: [1.0, 0.5, 1.0, 0.7][i]
    )
    trainer = run_ours(base, rows, tmp_path)
    trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    assert {"weight", "p_chosen", "margin"} <= batch.keys()
    taken = {name: batch[name].double().numpy() for name in ("weight", "p_chosen", "margin")}
    with torch.no_grad():
        loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    chosen, rejected = outputs.logits.squeeze(-1).double().chunk(2)
    z, m = (chosen - rejected).numpy(), taken["margin"]
    p = taken["p_chosen"]
    each = p * np.log1p(np.exp(m - z)) + (1 - p) * np.log1p(np.exp(z + m))
    assert float(loss) == pytest.approx((taken["weight"] * each).sum() / 4, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_gold_chooses_the_epoch_and_does_not_teach(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.ship import train_worker
    from pipelines.ship.rewards import score_responses

    monkeypatch.setattr(train_worker, "LEAST_GOLD", 10)
    # the base likes gold's side a little, and silver teaches it the other one
    silver = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in make_rows(60)]
    gold = [row | {"tier": "gold"} for row in make_rows(80)[60:]]
    job = make_job(tmp_path, base, silver + gold, epochs=3, learning_rate=1e-4, seed=5)
    found = train_worker.train(job)
    choice = found["chosen_by_gold"]
    assert [row["accuracy"] for row in choice["accuracy"]] == [1.0, 0.0, 0.0]
    assert choice["step"] == choice["accuracy"][0]["step"] < found["steps"]
    assert found["train_pairs"] + choice["left_out"] == 80
    assert 1 <= choice["pairs"] < choice["left_out"], "what shares a prompt with it is left out too"
    sides = [(row["prompt"], [row[side][-1]["content"] for side in ("chosen", "rejected")])
             for row in gold]  # fmt: skip
    rewards, _ = score_responses(tmp_path / "out", sides, 64)
    assert all(yes > no for yes, no in rewards), "the model of the first epoch is what was saved"
    assert not (tmp_path / "out-work").exists()


def test_gold_chooses_only_where_there_is_enough_and_a_choice(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from pipelines.ship import train_worker

    rows = datasets.Dataset.from_list(make_rows(40, tier=lambda i: "gold" if i < 20 else "silver"))
    assert train_worker._part(rows, {"epochs": 3, "seed": 5})[1] is None
    monkeypatch.setattr(train_worker, "LEAST_GOLD", 20)
    assert train_worker._part(rows, {"epochs": 1, "seed": 5})[1] is None
    taught, chooses = train_worker._part(rows, {"epochs": 3, "seed": 5})
    assert set(chooses["tier"]) == {"gold"}
    asked = [{str(prompt) for prompt in part["prompt"]} for part in (taught, chooses)]
    assert not asked[0] & asked[1]
    one_prompt = rows.map(lambda row: {"prompt": rows[0]["prompt"]})
    whole, none = train_worker._part(one_prompt, {"epochs": 3, "seed": 5})
    assert (len(whole), none) == (40, None), "one prompt cannot teach and choose"


def start_worker(job: dict[str, Any], launcher: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launcher, "pipelines.ship.train_worker", json.dumps(job)],
        cwd=ROOT, env=_make_environment(), capture_output=True, text=True, timeout=170,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_processes_share_a_step(base: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, base, make_rows(16), processes=2)
    both = start_worker(job, _make_launcher(2))
    assert both.returncode == 0, both.stdout + both.stderr
    lines = [line for line in both.stdout.splitlines() if line.startswith("ASSAY-RESULT ")]
    assert len(lines) == 1
    result = json.loads(lines[0].removeprefix("ASSAY-RESULT "))
    assert (result["steps"], result["train_pairs"]) == (4, 16), "four pairs a step, two a process"
    assert (tmp_path / "out" / "config.json").exists()


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_a_launcher_that_starts_one_process_is_not_taken_for_two(
    base: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, make_rows(16), processes=2)
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes",
                  "2", "-m"]  # fmt: skip
    alone = start_worker(job, accelerate)
    assert alone.returncode != 0
    assert "asks for 2 processes and there are 1" in alone.stderr + alone.stdout
    assert not (tmp_path / "out").exists()


def test_the_processes_of_a_job_are_counted() -> None:
    _check_processes(2, 2)
    for found, wanted in ((1, 2), (2, 1)):
        with pytest.raises(SystemExit, match=f"{wanted} processes and there are {found}"):
            _check_processes(found, wanted)
