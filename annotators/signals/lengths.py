"""Scores of length and of repetition.

The cosine reward and the repetition penalty are those of "Demystifying Long Chain-of-Thought
Reasoning in LLMs" (Yeo et al., arXiv 2502.03373), the linear one that of Kimi k1.5 (arXiv
2501.12599). All were made to shape training; as labels they say which of two right answers is the
thriftier, and find loops. Lengths are in tokens, or in any one unit throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.signals.rows import SignalUnusable, check_columns, make_score_row, name_signal
from annotators.talk import Row

Array = NDArray[np.float64]
UNCHECKED = "nobody has said whether the response is right"
LENGTHS = ("prompt_id", "response_id", "length", "right")


@dataclass(frozen=True)
class CosineEnds:
    """What the shortest and the longest response are worth, right or wrong, and one that is cut
    off. The defaults are those of the paper's published run; wrong ones are the worse the shorter
    they are, so that a model is not taught to give up."""

    right_short: float = 2.0
    right_long: float = 1.0
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    over: float = -10.0


def score_cosine_length(
    lengths: ArrayLike, right: ArrayLike, *, limit: int, ends: CosineEnds | None = None
) -> Array:
    """long + ½ (short - long) (1 + cos(π length / limit)), with the ends of right or wrong.

    Args:
        lengths: (n,), 0 or more.
        right: (n,) true, false, or None where it is not known: the score is NaN.
        limit: the length at which a response is cut off. From there on it is worth `ends.over`,
            right or wrong.

    Raises:
        SignalUnusable: the limit is not above 0, a length is below 0, or the shapes differ.
    """
    ends = ends or CosineEnds()
    if limit <= 0:
        raise SignalUnusable(f"the limit of length is {limit}; it must be above 0")
    length, known = _read_lengths(lengths, right)
    short = np.where(known == 1.0, ends.right_short, ends.wrong_short)
    long = np.where(known == 1.0, ends.right_long, ends.wrong_long)
    cosine = np.cos(np.pi * np.minimum(length / limit, 1.0))
    scores = long + 0.5 * (short - long) * (1.0 + cosine)
    scores[np.isnan(known)] = np.nan
    scores[length >= limit] = ends.over
    return scores


def score_linear_length(lengths: ArrayLike, right: ArrayLike) -> Array:
    """λ = ½ - (length - min) / (max - min) over the responses to one prompt: a right one is worth
    λ, a wrong one min(0, λ). Where all are of one length, all are worth 0.

    Args:
        lengths: (n,), 0 or more.
        right: (n,) true, false, or None: the score is NaN, and the length counts for the others.

    Raises:
        SignalUnusable: a length is below 0, or the shapes differ.
    """
    length, known = _read_lengths(lengths, right)
    if length.size == 0:
        return length
    span = float(np.ptp(length))
    share = 0.5 - (length - length.min()) / span if span > 0 else np.zeros_like(length)
    scores = np.where(known == 1.0, share, np.minimum(0.0, share))
    scores[np.isnan(known)] = np.nan
    return scores


def mark_repeats(tokens: Sequence[object], n: int) -> NDArray[np.bool_]:
    """Which tokens lie in a run of `n` that has stood before: where the paper's dense penalty
    falls (its run: n = 40, -0.05 a token)."""
    marks = np.zeros(len(tokens), dtype=np.bool_)
    seen: set[tuple[object, ...]] = set()
    for start, gram in enumerate(_list_grams(tokens, n)):
        if gram in seen:
            marks[start : start + n] = True
        seen.add(gram)
    return marks


def score_repetition(tokens: Sequence[object], *, n: int, worst: float) -> float:
    """`worst` times the share of runs of `n` tokens that are repeats, so from 0 to `worst`; 0 for
    fewer than `n` tokens.

    Raises:
        SignalUnusable: n is below 1, or `worst` above 0.
    """
    if worst > 0:
        raise SignalUnusable(f"the penalty of repetition is {worst}; it must not be above 0")
    grams = _list_grams(tokens, n)
    return worst * (1.0 - len(set(grams)) / len(grams)) if grams else 0.0


def make_cosine_rows(
    responses: pl.DataFrame, *, limit: int, ends: CosineEnds | None = None
) -> list[Row]:
    """Rows of `judgments` by `score_cosine_length`.

    Args:
        responses: prompt_id, response_id, length, right (null where it is not known).

    Raises:
        SignalUnusable: see `score_cosine_length`, or a column is missing.
    """
    check_columns(responses, LENGTHS, "responses")
    ends = ends or CosineEnds()
    settings = {"limit": limit, **asdict(ends)}
    annotator = name_signal("cosine-length", settings)
    scores = score_cosine_length(
        responses["length"].to_numpy(), responses["right"].to_list(), limit=limit, ends=ends
    )
    return [
        make_score_row(
            annotator,
            row["prompt_id"],
            row["response_id"],
            float(score),
            reason=UNCHECKED,
            origin=[row["length"], row["right"]],
            detail={"length": row["length"], "right": row["right"], **settings},
        )
        for row, score in zip(responses.iter_rows(named=True), scores, strict=True)
    ]


def make_linear_rows(responses: pl.DataFrame) -> list[Row]:
    """Rows of `judgments` by `score_linear_length`, prompt by prompt.

    Args:
        responses: prompt_id, response_id, length, right (null where it is not known).

    Raises:
        SignalUnusable: see `score_linear_length`, or a column is missing.
    """
    check_columns(responses, LENGTHS, "responses")
    annotator = name_signal("linear-length", {})
    rows = []
    for group in responses.partition_by("prompt_id", maintain_order=True):
        lengths = group["length"].to_list()
        scores = score_linear_length(lengths, group["right"].to_list())
        bounds = {"shortest": min(lengths), "longest": max(lengths)}
        rows += [
            make_score_row(
                annotator,
                row["prompt_id"],
                row["response_id"],
                float(score),
                reason=UNCHECKED,
                origin=[row["length"], row["right"], *bounds.values()],
                detail={"length": row["length"], "right": row["right"], **bounds},
            )
            for row, score in zip(group.iter_rows(named=True), scores, strict=True)
        ]
    return rows


def make_repetition_rows(responses: pl.DataFrame, *, n: int, worst: float = -1.0) -> list[Row]:
    """Rows of `judgments` by `score_repetition` over lower-case words, with the criterion
    `repetition`.

    Args:
        responses: prompt_id, response_id, content.

    Raises:
        SignalUnusable: see `score_repetition`, or a column is missing.
    """
    check_columns(responses, ("prompt_id", "response_id", "content"), "responses")
    settings = {"n": n, "worst": worst}
    annotator = name_signal("repetition", settings)
    return [
        make_score_row(
            annotator,
            prompt_id,
            response_id,
            score_repetition(content.lower().split(), n=n, worst=worst),
            criterion="repetition",
            detail=settings,
        )
        for prompt_id, response_id, content in responses.select(
            "prompt_id", "response_id", "content"
        ).iter_rows()
    ]


def _read_lengths(lengths: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
    length = np.asarray(lengths, dtype=np.float64)
    known = np.asarray(right, dtype=np.float64)
    if length.ndim != 1 or length.shape != known.shape:
        raise SignalUnusable(f"{length.shape} lengths for {known.shape} verdicts: give one each")
    if not (np.isfinite(length) & (length >= 0)).all():
        raise SignalUnusable("a length is missing, or below 0: leave such responses out")
    if not (np.isnan(known) | (known == 0.0) | (known == 1.0)).all():
        raise SignalUnusable("a response is right, wrong or unknown; scores must be cut first")
    return length, known


def _list_grams(tokens: Sequence[object], n: int) -> list[tuple[object, ...]]:
    if n < 1:
        raise SignalUnusable(f"runs of {n} tokens cannot be compared; n must be 1 or more")
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))
