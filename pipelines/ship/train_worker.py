"""The training process: `python -m pipelines.ship.train_worker JOB`. Knows no lake.

The job is JSON: `data` (an export), `out`, `base`, `epochs`, `batch_size`, `learning_rate`,
`max_length` (tokens; longer pairs are dropped and counted) and `seed`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from engines.embedder import MINILM, find_minilm
from engines.models import ensure_embedded
from schemas.part import EMBEDDED

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
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    transformers.utils.logging.disable_progress_bar()
    if base == MINILM:
        base = str(find_minilm())
    elif base == EMBEDDED:
        base = str(ensure_embedded())
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32
    )
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def choose_sampling(columns: list[str]) -> str:
    """How rows are drawn: as they stand where the export has an `order`, else shuffled."""
    return "sequential" if "order" in columns else "random"


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train and save; returns the training curve, the counts and the seconds."""
    import datasets
    import transformers
    from trl import RewardConfig, RewardTrainer

    transformers.set_seed(job["seed"])
    data = datasets.load_from_disk(job["data"])
    if "train" not in data:
        raise SystemExit("this version has no pair in its train split: publish more prompts")
    model, tokenizer = load_reward_model(job["base"])
    started = time.monotonic()

    class Progress(transformers.TrainerCallback):
        """Tells the parent process where the training stands."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            print(f"ASSAY-STEP {state.global_step} {state.max_steps}", flush=True)

    given = len(data["train"])
    trainer = RewardTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=data["train"],
        callbacks=[Progress()],
        args=RewardConfig(
            output_dir=f"{job['out']}-work",
            num_train_epochs=job["epochs"],
            per_device_train_batch_size=job["batch_size"],
            learning_rate=job["learning_rate"],
            max_length=job["max_length"],
            warmup_steps=0.1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=job["seed"],
            data_seed=job["seed"],
            train_sampling_strategy=choose_sampling(data["train"].column_names),
            bf16=False,
            fp16=False,
            use_cpu=not _has_gpu(),
            gradient_checkpointing=False,
        ),
    )
    kept = len(trainer.train_dataset)
    if kept == 0:
        raise SystemExit(f"all {given} pairs are longer than max_length={job['max_length']} tokens")
    trainer.train()
    model.save_pretrained(job["out"])
    tokenizer.save_pretrained(job["out"])
    curve = [
        {"step": row["step"], "loss": row["loss"], "accuracy": row.get("accuracy")}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    return {
        "curve": curve,
        "train_pairs": kept,
        "dropped_too_long": given - kept,
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - started, 2),
    }


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def main() -> None:
    """Run the job given as the only argument."""
    job = json.loads(sys.argv[1])
    Path(job["out"]).parent.mkdir(parents=True, exist_ok=True)
    result = train(job)
    print(f"ASSAY-RESULT {json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
