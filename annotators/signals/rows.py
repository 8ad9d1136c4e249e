"""What the signals share: their names, their rows of `judgments`, and the check of their input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from annotators.talk import Row
from schemas.errors import AssayError
from schemas.ids import make_id, make_judgment_id, make_pair_id

KIND = "reward_model"


class SignalUnusable(AssayError):
    """A signal's input or setting that no score can come from."""


def name_signal(method: str, specification: Mapping[str, Any], *, model: str | None = None) -> str:
    """`signal:method[:model]:hash`, the hash being that of the specification, so that other
    settings are another annotator."""
    made_by = "" if model is None else f"{model}:"
    return f"signal:{method}:{made_by}{make_id('annotator', specification)[:8]}"


def check_columns(frame: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raises:
    SignalUnusable: a column is missing.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SignalUnusable(
            f"the {what} lack the column {', '.join(missing)}; they have {', '.join(frame.columns)}"
        )


def make_score_row(
    annotator: str,
    prompt_id: str,
    response_id: str,
    score: float | None,
    *,
    reason: str | None = None,
    criterion: str | None = None,
    origin: Sequence[Any] = (),
    detail: Mapping[str, Any] | None = None,
) -> Row:
    """A row of `judgments` on one response.

    Without a finite `score` it is not valid, and `reason` says why. `origin` holds whatever the
    score depends on beside the response and the annotator (the rest of a group, say): where that
    changes, the row has another id.
    """
    known = score is not None and math.isfinite(score)
    return {
        "judgment_id": make_judgment_id(
            annotator,
            response_id,
            criterion=criterion,
            order=None,
            sample_index=0,
            origin=make_id("signal", *origin),
        ),
        "annotator": annotator,
        "kind": KIND,
        "prompt_id": prompt_id,
        "response_a": response_id,
        "response_b": None,
        "criterion": criterion,
        "p_a": None,
        "score": score if known else None,
        "tie": False,
        "valid": known,
        "reason": None if known else reason or "no finite score",
        "order": None,
        "sample_index": 0,
        "detail": None if detail is None else json.dumps(detail, ensure_ascii=False),
    }


def make_pair_row(
    annotator: str,
    prompt_id: str,
    better: str,
    worse: str,
    *,
    criterion: str,
    origin: Sequence[Any] = (),
    detail: Mapping[str, Any] | None = None,
) -> Row:
    """A row of `judgments` that says of two responses which has more of one criterion."""
    first, second = sorted((better, worse))
    row = make_score_row(
        annotator, prompt_id, first, None, criterion=criterion, origin=origin, detail=detail
    )
    row["judgment_id"] = make_judgment_id(
        annotator,
        make_pair_id(prompt_id, first, second),
        criterion=criterion,
        order=None,
        sample_index=0,
        origin=make_id("signal", *origin),
    )
    p_a = 1.0 if first == better else 0.0
    return {**row, "response_b": second, "p_a": p_a, "valid": True, "reason": None}
