"""Export: a version as a Hugging Face data set, on disk or on the Hub.

Rows are conversational with an explicit prompt and a `margin`, which is what TRL's RewardTrainer
reads as it is. `train` and `test` are the splits by prompt cluster.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.ship.card import write_card
from pipelines.ship.covering import cover_rows, find_findings, make_cover, read_scopes
from pipelines.ship.ordering import order_pairs
from pipelines.ship.publish import Published, read_pairs
from pipelines.ship.tastes import add_tastes
from schemas.errors import AssayError

if TYPE_CHECKING:
    import datasets

SPLIT_OF = {"train": "train", "test": "test", "gold-teach": "train", "gold-exam": "test"}
STAMP = {"name", "version", "fingerprint"}


class ExportFailed(AssayError):
    """A data set could not be written; the message says where and why."""


def make_rows(lake: Lake, version: Published) -> pl.DataFrame:
    """The rows of an export: prompt, chosen and rejected (lists of messages), margin, and what the
    lake knows of each pair; of a prototype's version also what `add_tastes` adds. `defects` names
    the rules that marked a pair or a part of it; what the recipe redacts is covered. Sorted by
    pair_id, or as the recipe orders them, and then `order` is each row's place in its part."""
    pairs = read_pairs(lake, version)
    scopes, recipe = read_scopes(lake, version.name, version.version)
    rows = lake.query(
        "SELECT p.pair_id, q.messages AS prompt, "
        "[{'role': 'assistant', 'content': c.content}] AS chosen, "
        "[{'role': 'assistant', 'content': r.content}] AS rejected, "
        "p.margin, p.probability, p.weight, p.tier, p.decided_by, p.annotators, p.category, "
        "p.source, p.licence, p.split, q.difficulty "
        "FROM pairs p JOIN prompts q USING (prompt_id) "
        "JOIN responses c ON c.response_id = p.chosen_id "
        "JOIN responses r ON r.response_id = p.rejected_id ORDER BY p.pair_id",
        pairs=pairs,
    )
    covered = cover_rows(rows, find_findings(lake, scopes, pairs), make_cover(recipe))
    order = (recipe.get("mix") or {}).get("order")
    if order:
        covered = order_pairs(covered, order, pl.col("split").replace_strict(SPLIT_OF))
    return add_tastes(lake, version, covered.drop("difficulty"))


def make_dataset(lake: Lake, version: Published) -> datasets.DatasetDict:
    """The version as a DatasetDict of `train` and `test` (a split without rows is left out)."""
    import datasets

    rows = make_rows(lake, version)
    if len(rows) != version.rows:
        raise ExportFailed(
            f"{version.name}@{version.version} has {version.rows} pairs and {len(rows)} of them "
            "could be read; the lake's files were changed from outside"
        )
    parts = {}
    for name in ("train", "test"):
        splits = [split for split, side in SPLIT_OF.items() if side == name]
        part = rows.filter(pl.col("split").is_in(splits))
        if len(part):
            parts[name] = datasets.Dataset(part.to_arrow())
    return datasets.DatasetDict(parts)


def export_version(lake: Lake, version: Published, folder: Path) -> Path:
    """Write a version to `folder` with `save_to_disk` and its card as README.md.

    The folder appears whole or not at all; an earlier export of the same place, of whatever
    version, stays until the new one is complete and is then replaced.

    Raises:
        ExportFailed: the place holds something that is no export, or cannot be written.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ExportFailed(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and _read_stamp(folder) is None:
        raise ExportFailed(f"{folder} holds something that is no export of Assay; name another")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    dataset = make_dataset(lake, version)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_to_disk(str(partial))
        (partial / "README.md").write_text(write_card(lake, version), encoding="utf-8")
        (partial / "assay.json").write_text(json.dumps(_make_stamp(version), indent=2) + "\n")
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise ExportFailed(f"{folder} cannot be written: {error.strerror or error}") from error
    shutil.rmtree(old, ignore_errors=True)
    return folder


def holds_version(folder: Path, version: Published) -> bool:
    """Whether `folder` holds an export of exactly this content (equal fingerprints)."""
    stamp = _read_stamp(Path(folder))
    return stamp is not None and stamp["fingerprint"] == version.fingerprint


def push_version(lake: Lake, version: Published, repository: str) -> str:
    """Push a version to `ORG/NAME` on the Hub in one commit; returns the commit's address.

    The token comes from `HF_TOKEN`, the server from `HF_ENDPOINT`. The repository is created
    private where it is not there. Parquet files go under `data/`, the card is its README.

    Raises:
        ExportFailed: the Hub refuses the token, the name or the bytes, or cannot be reached.
    """
    import tempfile

    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HTTPError  # of httpx or httpx2, whichever the client uses

    api = HfApi()
    with tempfile.TemporaryDirectory() as place:
        operations = []
        for name, part in make_dataset(lake, version).items():
            file = Path(place) / f"{name}.parquet"
            part.to_parquet(str(file))
            operations.append(CommitOperationAdd(f"data/{name}-00000-of-00001.parquet", str(file)))
        card = write_card(lake, version, hub=True).encode()
        operations.append(CommitOperationAdd("README.md", card))
        operations.append(
            CommitOperationAdd("assay.json", json.dumps(_make_stamp(version), indent=2).encode())
        )
        try:
            api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            commit = api.create_commit(
                repository,
                operations,
                repo_type="dataset",
                commit_message=f"{version.name}@{version.version} ({version.rows} pairs)",
                commit_description=f"fingerprint {version.fingerprint}",
            )
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            # The client wraps a failed upload in RuntimeError; a bad name or card is a ValueError.
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ExportFailed(
                f"hub:{repository}: {reason}; check the name ORG/NAME, HF_TOKEN and that it may "
                "write there"
            ) from error
    return str(commit.commit_url)


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    """What an export says of itself; None where the folder is no export of Assay."""
    try:
        stamp = json.loads((folder / "assay.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and stamp.keys() >= STAMP else None


def _make_stamp(version: Published) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "fingerprint": version.fingerprint,
        "rows": version.rows,
        "snapshot": version.snapshot,
    }
