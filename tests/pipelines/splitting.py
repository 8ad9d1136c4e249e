"""Splits without a recipe, for tests of what gold teaches."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run


def put_in(lake: Lake, splits: Mapping[str, str]) -> None:
    """Give each prompt (a cluster of its own) the split it has there."""
    rows = [
        {"prompt_id": prompt_id, "cluster_id": prompt_id, "split": split}
        for prompt_id, split in splits.items()
    ]
    lake.append({"splits": rows}, run=new_run(), stage="split")


def put_in_train(lake: Lake) -> None:
    """Every prompt of the lake."""
    put_in(lake, dict.fromkeys(lake.query("SELECT prompt_id FROM prompts")["prompt_id"], "train"))
