"""The training process: `python -m pipelines.ship.train_worker JOB`. Knows no lake.

The job is JSON: `data` (an export), `out`, `base`, `epochs`, `batch_size` (pairs a step, of all
processes together), `learning_rate`, `max_length` (tokens; longer pairs are dropped and counted),
`labels` (see `annotators.label_reading`), `processes` and `seed`. With several processes it is
started by torchrun, and each is a rank.

Where the train split has enough gold, some of it is left out of training and says which epoch's
model is kept; the test split is never looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotators.label_reading import read_labels
from engines.embedder import MINILM, find_minilm
from engines.models import ensure_embedded
from schemas.ids import make_seed
from schemas.part import EMBEDDED

LEAST_GOLD = 100
"""Gold pairs of the train split: of fewer too few could choose, and their lack would be felt."""
ONE_IN = 5
# BERT-like tokenisers know no chat: a plain template, each turn closed by the separator
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
    "{{ sep_token if sep_token else eos_token }}{% endfor %}"
)


def load_reward_model(base: str) -> tuple[Any, Any]:
    """A sequence classifier with one label and its tokenizer, ready for pairs.

    `base` is `minilm`, `embedded`, a checkpoint folder or a hub id.
    """
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification

    transformers.utils.logging.disable_progress_bar()
    tokenizer = load_tokenizer(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        _find_base(base), num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def load_tokenizer(base: str) -> Any:
    """The tokenizer alone, with a chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_find_base(base))
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def _find_base(base: str) -> str:
    if base == MINILM:
        return str(find_minilm())
    return str(ensure_embedded()) if base == EMBEDDED else base


def choose_sampling(columns: list[str]) -> str:
    """How rows are drawn: as they stand where the export has an `order`, else shuffled."""
    return "sequential" if "order" in columns else "random"


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train and save; returns the training curve, the counts, what gold said of each epoch, and the
    seconds."""
    import datasets
    import transformers

    from pipelines.ship.preference_trainer import PreferenceCollator, PreferenceTrainer

    transformers.set_seed(job["seed"])
    data = datasets.load_from_disk(job["data"])
    if "train" not in data:
        raise SystemExit("this version has no pair in its train split: publish more prompts")
    rows = _add_lessons(data["train"], job["labels"])
    taught, judged = _part(rows, job)
    model, tokenizer = load_reward_model(job["base"])
    started = time.monotonic()

    class Progress(transformers.TrainerCallback):
        """Tells the parent process where the training stands."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                print(f"ASSAY-STEP {state.global_step} {state.max_steps}", flush=True)

    work = f"{job['out']}-work"
    arguments = _make_arguments(job, work, choose_sampling(rows.column_names), judged is not None)
    _check_processes(arguments.world_size, job["processes"])
    trainer = PreferenceTrainer(
        model=model,
        processing_class=tokenizer,
        data_collator=PreferenceCollator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=taught,
        eval_dataset=judged,
        callbacks=[Progress()],
        args=arguments,
    )
    kept = len(trainer.train_dataset)
    if kept == 0:
        raise SystemExit(
            f"all {len(taught)} pairs are longer than max_length={job['max_length']} tokens"
        )
    if judged is not None and len(trainer.eval_dataset) == 0:
        raise SystemExit(
            f"all {len(judged)} gold pairs that were to choose the epoch are longer than "
            f"max_length={job['max_length']} tokens"
        )
    trainer.train()
    if trainer.is_world_process_zero():
        model.save_pretrained(job["out"])
        tokenizer.save_pretrained(job["out"])
        shutil.rmtree(work, ignore_errors=True)
    history = trainer.state.log_history
    curve = [
        {"step": row["step"], "loss": row["loss"], "accuracy": row.get("accuracy")}
        for row in history
        if "loss" in row
    ]
    found = {
        "curve": curve,
        "train_pairs": kept,
        "dropped_too_long": len(taught) - kept,
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - started, 2),
    }
    if judged is not None:
        found["chosen_by_gold"] = {
            "pairs": len(trainer.eval_dataset),
            "left_out": len(rows) - len(taught),
            "step": trainer.state.best_global_step,
            "accuracy": [
                {"step": row["step"], "accuracy": row["eval_accuracy"]}
                for row in history
                if "eval_accuracy" in row
            ],
        }
    return found


def _make_arguments(job: dict[str, Any], work: str, sampling: str, choose: bool) -> Any:
    from trl import RewardConfig

    return RewardConfig(
        output_dir=work,
        num_train_epochs=job["epochs"],
        per_device_train_batch_size=job["batch_size"] // job["processes"],
        learning_rate=job["learning_rate"],
        max_length=job["max_length"],
        warmup_steps=0.1,
        logging_steps=1,
        eval_strategy="epoch" if choose else "no",
        save_strategy="best" if choose else "no",
        save_only_model=True,
        load_best_model_at_end=choose,
        metric_for_best_model="eval_accuracy" if choose else None,
        report_to="none",
        disable_tqdm=True,
        seed=job["seed"],
        data_seed=job["seed"],
        train_sampling_strategy=sampling,
        bf16=False,
        fp16=False,
        use_cpu=not _has_gpu(),
        gradient_checkpointing=False,
    )


def _check_processes(found: int, wanted: int) -> None:
    """A launcher may start fewer processes than it was told to (`accelerate launch --cpu` starts
    one), and each would then train on all the data as if it were alone."""
    if found != wanted:
        raise SystemExit(
            f"the job asks for {wanted} processes and there are {found}: start it with "
            f"`torchrun --nproc_per_node {wanted} -m pipelines.ship.train_worker JOB`"
        )


def _add_lessons(rows: Any, labels: Any) -> Any:
    """The rows with the columns `p_chosen`, `weight` and `margin` that they teach by."""
    given = [np.asarray(rows[name]) for name in ("probability", "weight", "margin")]
    lessons = read_labels(labels, *given)
    known = rows.remove_columns(["weight", "margin"])
    columns = {"p_chosen": lessons.p_chosen, "weight": lessons.weights, "margin": lessons.margins}
    for name, values in columns.items():
        known = known.add_column(name, values.tolist())
    return known


def _part(rows: Any, job: dict[str, Any]) -> tuple[Any, Any | None]:
    """The rows that teach, and the gold that chooses among epochs; None where there is one epoch,
    or too little gold to give any of it up.

    It is the gold of one prompt in `ONE_IN`; nothing else about those prompts teaches either.
    """
    gold = np.asarray(rows["tier"]) == "gold"
    if job["epochs"] <= 1 or not has_gold_to_choose(rows["tier"]):
        return rows, None
    apart = np.asarray([
        make_seed("choose", job["seed"], json.dumps(prompt)) % ONE_IN == 0
        for prompt in rows["prompt"]
    ])  # fmt: skip
    sided = np.asarray(rows["probability"]) > 0.5
    teaches, chooses = np.flatnonzero(~apart), np.flatnonzero(apart & gold & sided)
    if not len(teaches) or not len(chooses):
        return rows, None
    return rows.select(teaches), rows.select(chooses)


def has_gold_to_choose(tiers: Sequence[str]) -> bool:
    """Whether the gold of a train split is enough for a part of it to choose among epochs."""
    return sum(tier == "gold" for tier in tiers) >= LEAST_GOLD


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def main() -> None:
    """Run the job given as the only argument."""
    job = json.loads(sys.argv[1])
    Path(job["out"]).parent.mkdir(parents=True, exist_ok=True)
    result = train(job)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"ASSAY-RESULT {json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
