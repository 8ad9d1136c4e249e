"""Which gold may teach, and which is the exam's: the one place that says so.

What gold is, `annotators.gold` says; whom it teaches follows from the split of its prompt, which a
prompt cluster gets once (`pipelines.clean.splits`):

    train side (train, gold-teach)   it teaches
    test side (test, gold-exam)      it is the exam's: it has its own pair's label, and no judge's
                                     prompt, retrieval, calibration, card, weight or rubric
    not split yet                    nobody knows yet, and it may become the exam's

So what cannot be taken back, or stands until it is made anew by hand (a request to a model, a
calibration that labels are read through, a rubric), takes `keep_teaching`; what is worked out anew
each time it is looked at, after the split as before it, takes `leave_exam`. Whatever learns from
gold reads it through one of the two, or has the rows' `split` and asks `on_train`.
"""

from __future__ import annotations

import polars as pl

from pipelines.lake.catalogue import Lake, PastLake
from schemas.outcomes import SIDE

SPLITS = "SELECT prompt_id, cluster_id, split FROM splits"


def on_train(split: str = "split") -> pl.Expr:
    """Whether a row's split is on the train side; false where it has none."""
    side = pl.col(split).replace_strict(SIDE, default=None, return_dtype=pl.String)
    return (side == "train").fill_null(False)


def on_test(split: str = "split") -> pl.Expr:
    """Whether a row's split is on the test side; false where it has none."""
    side = pl.col(split).replace_strict(SIDE, default=None, return_dtype=pl.String)
    return (side == "test").fill_null(False)


def keep_teaching(lake: Lake | PastLake, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows (with `prompt_id`) whose prompts are in train, in their order."""
    taught = read_splits(lake, rows).filter(on_train())
    return rows.join(taught, on="prompt_id", how="semi", maintain_order="left")


def leave_exam(lake: Lake | PastLake, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows (with `prompt_id`) whose prompts are not in test, in their order."""
    exam = read_splits(lake, rows).filter(on_test())
    return rows.join(exam, on="prompt_id", how="anti", maintain_order="left")


def read_splits(lake: Lake | PastLake, rows: pl.DataFrame) -> pl.DataFrame:
    """prompt_id, cluster_id, split of the prompts of these rows that have one."""
    return lake.query(
        f"{SPLITS} SEMI JOIN wanted USING (prompt_id) ORDER BY prompt_id",
        wanted=rows.select("prompt_id").unique(),
    )
