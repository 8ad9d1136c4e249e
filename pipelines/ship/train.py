"""Training of a small reward model, in a process of its own, through TRL.

A model's id hashes what it was trained on and how, so that an unchanged version is never trained
twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from engines.assets import assets_folder
from engines.embedder import MINILM
from engines.models import resolve_model
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.ship.export import SPLIT_OF, export_version
from pipelines.ship.publish import Published, read_pairs
from pipelines.ship.train_worker import has_gold_to_choose
from schemas.errors import AssayError
from schemas.ids import make_id
from schemas.part import EMBEDDED
from schemas.recipe import ModelSpec, TrainSpec

STAGE = "train"
TRAINING_VERSION = 2
"""2 reads weights and ties, and lets gold choose the epoch. A version without any of them trains
as it did by 1, and its model keeps its id."""
NEW_KEYS = ("labels", "processes")  # of 2: no part of an id where they are left as they are
PATIENCE = 10  # seconds that torchrun has to end its processes


class TrainingFailed(AssayError):
    """The training process ended with an error; the message ends with its last lines."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained reward model and where it lies.

    `name` and `version` are the version it was asked for; another version of equal content has
    the same model. `config` is what it was trained with. `new` says that this call trained it.
    """

    model_id: str
    name: str
    version: int
    base: str
    config: dict[str, Any]
    path: Path
    metrics: dict[str, Any]
    new: bool = False

    @property
    def is_there(self) -> bool:
        """Whether its folder still holds it."""
        return (self.path / "config.json").exists()


def train_model(
    lake: Lake, run: Run, version: Published, spec: TrainSpec, seed: int, folder: Path
) -> TrainedModel:
    """Train on the `train` split of a version, unless that was done and the model is still there.

    Args:
        folder: where the checkpoint goes, as `folder/model_id`.

    Raises:
        TrainingFailed: no pair to train on, or the process failed.
    """
    config = _make_config(spec, seed)
    if _needs_version_2(read_pairs(lake, version), spec):
        config["training"] = TRAINING_VERSION
    model_id = make_id("model", version.fingerprint, config)
    with lake.lease(f"{STAGE}:{model_id}", run):
        known = find_models(lake, "model_id = ?", [model_id])
        if known and known[0].is_there:
            return replace(known[0], name=version.name, version=version.version)
        target = (folder / model_id).absolute()
        export = export_version(lake, version, target.with_name(f"{model_id}-data"))
        job = {"data": str(export), "out": str(target), **spec.model_dump(mode="json"), **config}
        run.tell(f"training {spec.base} on {version.name}@{version.version}")
        metrics = _run_worker(job, run)
        shutil.rmtree(export)
        row = {
            "model_id": model_id,
            "name": version.name,
            "version": version.version,
            "fingerprint": version.fingerprint,
            "base": spec.base,
            "config": json.dumps(config),
            "path": str(target),
            "metrics": json.dumps(metrics),
        }
        lake.append({"models": [row]}, run=run, stage=STAGE)
    return TrainedModel(
        model_id, version.name, version.version, spec.base, config, target, metrics, True
    )


def find_models(lake: Lake, where: str, parameters: list[Any]) -> list[TrainedModel]:
    """The trained models that meet a condition on `models`, newest first. Of several folders that
    a model was trained into, the newest that still holds it counts."""
    frame = lake.query(
        "SELECT model_id, name, version, base, config, path, metrics FROM models "
        f"WHERE {where} ORDER BY created_at DESC, model_id",
        parameters,
    )
    found: dict[str, TrainedModel] = {}
    for model_id, name, version, base, config, path, metrics in frame.iter_rows():
        model = TrainedModel(
            model_id, name, version, base, json.loads(config), Path(path), json.loads(metrics)
        )
        first = found.setdefault(model_id, model)
        if not first.is_there and model.is_there:
            found[model_id] = model
    return list(found.values())


def find_models_of(lake: Lake, version: Published) -> list[TrainedModel]:
    """The models that were trained on the content of a version, under whatever name: those of its
    own name first, each group newest first."""
    found = find_models(lake, "fingerprint = ?", [version.fingerprint])
    found.sort(key=lambda model: model.name != version.name)
    return [replace(model, name=version.name, version=version.version) for model in found]


def _make_config(spec: TrainSpec, seed: int) -> dict[str, Any]:
    """Everything that makes a model beside its data. A checkpoint folder counts by its files."""
    said = spec.model_dump(mode="json")
    for key in NEW_KEYS:
        if said[key] == TrainSpec.model_fields[key].default:
            del said[key]
    config = {**said, "seed": seed, "training": 1}
    if spec.base not in (MINILM, EMBEDDED) and Path(spec.base).is_dir():
        config["base_revision"] = resolve_model(ModelSpec(model=spec.base)).revision
    return config


def _needs_version_2(pairs: pl.DataFrame, spec: TrainSpec) -> bool:
    """Whether training as it was before would have made another model of these pairs."""
    taught = pairs.filter(pl.col("split").replace_strict(SPLIT_OF) == "train")
    odd = (pl.col("weight") != 1) | (pl.col("probability") == 0.5)
    chooses = spec.epochs > 1 and has_gold_to_choose(taught["tier"].to_list())
    return chooses or bool(taught.select(odd.any()).item())


def _run_worker(job: dict[str, Any], run: Run) -> dict[str, Any]:
    """Run the trainer; its progress lines are passed on, its last line is the result."""
    process = subprocess.Popen(
        [*_make_launcher(job["processes"]), "pipelines.ship.train_worker", json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_make_environment(),
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=25)
    result: dict[str, Any] | None = None
    try:
        for line in process.stdout:
            if line.startswith("ASSAY-STEP "):
                done, total = line.split()[1:3]
                run.progress(STAGE, int(done), int(total))
            elif line.startswith("ASSAY-RESULT "):
                result = json.loads(line.removeprefix("ASSAY-RESULT "))
            else:
                last.append(line.rstrip())
    finally:
        if process.poll() is None and result is None:
            _end(process)
        process.wait()
    if process.returncode or result is None:
        raise TrainingFailed("\n".join([f"training ended with {process.returncode}:", *last]))
    return result


def _make_launcher(processes: int) -> list[str]:
    """What comes before the worker's module on a command line."""
    if processes == 1:
        return [sys.executable, "-m"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, "--nproc_per_node", str(processes), "-m"]


def _end(process: subprocess.Popen[str]) -> None:
    """Asked to end, torchrun ends its processes; killed, it would leave them."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _make_environment() -> dict[str, str]:
    """The trainer's environment: this process's, so that a GPU which is seen here is used."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(assets_folder().parent), *sys.path]),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_DISABLED": "true",
        "TOKENIZERS_PARALLELISM": "false",
    }
