"""A score of several parts against a known truth: is the label right, is the place right, is the
analysis sound.

After VULPO ("Context-Aware Vulnerability Detection via On-Policy LLM Optimization", arXiv
2511.11896), which rewards prediction, localisation and reasoning apart. The paper has no public
code: this is a re-implementation of that division, with intersection over union for the place and
weights that the caller states. The parts stay in columns of their own, since a sum hides which of
them is gamed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from annotators.signals.rows import SignalUnusable, check_columns, make_score_row, name_signal
from annotators.talk import Row

PARTS = ("label", "location", "analysis")
COLUMNS = ("prompt_id", "response_id", "label_said", "label_true", "analysis")
PLACES = (("lines_said", "lines_true"), ("spans_said", "spans_true"))
Span = Sequence[int]


def overlap_lines(said: Collection[int], true: Collection[int]) -> float:
    """Intersection over union of two sets of lines, from 0 to 1.

    Raises:
        SignalUnusable: `true` is empty: there is nothing to find, and so nothing to score.
    """
    ours, theirs = set(said), set(true)
    if not theirs:
        raise SignalUnusable("the truth names no line: such a response has no score of its place")
    return len(ours & theirs) / len(ours | theirs)


def overlap_spans(said: Sequence[Span], true: Sequence[Span]) -> float:
    """Intersection over union of two sets of spans [start, end), which may overlap among
    themselves; from 0 to 1.

    Raises:
        SignalUnusable: a span ends before it starts, or `true` covers nothing.
    """
    ours, theirs = _merge_spans(said), _merge_spans(true)
    covered = _measure(theirs)
    if not covered:
        raise SignalUnusable("the truth names no span: such a response has no score of its place")
    both = sum(
        max(0, min(end, stop) - max(start, begin)) for start, end in ours for begin, stop in theirs
    )
    return both / (_measure(ours) + covered - both)


def score_parts(responses: pl.DataFrame, weights: Mapping[str, float]) -> pl.DataFrame:
    """Score the parts apart and together.

    A part applies to a prompt whose truth is known: the label where `label_true` is not null, the
    place where the true lines or spans are not null and cover something, the analysis where it
    weighs anything or was scored. A part that applies and is not there (unreadable in the response,
    such as a span that ends before it starts, or without a judge's score) is missing: it is null,
    never 0, and so is `combined` if its weight is not 0. (An empty list is an answer, "nowhere",
    and scores 0.)

    Args:
        responses: prompt_id, response_id, label_said, label_true (compared as text, without
            case), analysis (a judge's score from 0 to 1), and lines_said, lines_true (lists of
            line numbers) or spans_said, spans_true (lists of [start, end)).
        weights: of each part of `PARTS`, 0 or more; what is not named weighs 0.

    Returns:
        prompt_id, response_id, label, location, analysis (each from 0 to 1), combined (the mean by
        weight of the parts that apply), missing (names of parts).

    Raises:
        SignalUnusable: a column is missing, a weight is unknown, below 0 or all are 0, a true line
            or span is none, or an analysis lies outside [0, 1].
    """
    said_name, true_name = _find_places(responses)
    check_columns(responses, COLUMNS, "responses")
    weights = _check_weights(weights)
    rows = []
    for row in responses.iter_rows(named=True):
        parts: dict[str, float | None] = {}
        if row["label_true"] is not None:
            parts["label"] = _match_labels(row["label_said"], row["label_true"])
        if row[true_name]:
            parts |= _score_place(row[said_name], row[true_name], said_name, row["response_id"])
        if row["analysis"] is not None or weights["analysis"] > 0:
            parts["analysis"] = _check_analysis(row["analysis"], row["response_id"])
        rows.append(
            {
                "prompt_id": row["prompt_id"],
                "response_id": row["response_id"],
                **{name: parts.get(name) for name in PARTS},
                "combined": _combine(parts, weights),
                "missing": [name for name, score in parts.items() if score is None],
            }
        )
    schema = {
        "prompt_id": pl.String,
        "response_id": pl.String,
        **dict.fromkeys((*PARTS, "combined"), pl.Float64),
        "missing": pl.List(pl.String),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def make_part_rows(scored: pl.DataFrame, weights: Mapping[str, float]) -> list[Row]:
    """Rows of `judgments`: one for each part that applies (its name is the criterion), and one for
    `combined`, without a criterion. A part that is missing gives a row that is not valid.

    Args:
        scored: what `score_parts` returned for these `weights`.

    Raises:
        SignalUnusable: see `score_parts`.
    """
    weights = _check_weights(weights)
    annotator = name_signal("multi-part", weights)
    rows = []
    for row in scored.iter_rows(named=True):
        told = {name: row[name] for name in PARTS}
        why = f"missing: {', '.join(row['missing'])}" if row["missing"] else "no part applies"
        for name in (*PARTS, None):
            score = row["combined"] if name is None else row[name]
            if name is not None and score is None and name not in row["missing"]:
                continue
            rows.append(
                make_score_row(
                    annotator,
                    row["prompt_id"],
                    row["response_id"],
                    score,
                    reason=why if name is None else "the response does not say it readably",
                    criterion=name,
                    origin=list(told.values()) if name is None else [score],
                    detail={"weights": weights, **told} if name is None else None,
                )
            )
    return rows


def _find_places(responses: pl.DataFrame) -> tuple[str, str]:
    found = [names for names in PLACES if set(names) <= set(responses.columns)]
    if len(found) != 1:
        raise SignalUnusable(
            "the responses must have either lines_said and lines_true or spans_said and "
            f"spans_true; they have {', '.join(responses.columns)}"
        )
    return found[0]


def _check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    strange = [name for name in weights if name not in PARTS]
    if strange:
        raise SignalUnusable(f"no part named {strange[0]}; parts are {', '.join(PARTS)}")
    if any(not 0 <= weight < float("inf") for weight in weights.values()) or not any(
        weights.values()
    ):
        raise SignalUnusable(f"weights must be 0 or more, and one above 0; they are {weights}")
    return {name: float(weights.get(name, 0.0)) for name in PARTS}


def _score_place(
    said: list[Any] | None, true: list[Any], said_name: str, response_id: str
) -> dict[str, float | None]:
    """The part `location`, or no part where the truth covers nothing."""
    lines = said_name == "lines_said"
    if not _is_readable(true, lines):
        raise SignalUnusable(f"the truth of response {response_id} is no list of places: {true}")
    if not lines and not _measure(_merge_spans(true)):
        return {}
    if said is None or not _is_readable(said, lines):
        return {"location": None}
    return {"location": overlap_lines(said, true) if lines else overlap_spans(said, true)}


def _is_readable(places: list[Any], lines: bool) -> bool:
    """Whether each place is a line, or a span that does not end before it starts."""
    if lines:
        return None not in places
    return all(
        span is not None and len(span) == 2 and None not in span and span[0] <= span[1]
        for span in places
    )


def _match_labels(said: Any, true: Any) -> float | None:
    if said is None:
        return None
    return float(str(said).strip().casefold() == str(true).strip().casefold())


def _check_analysis(score: float | None, response_id: str) -> float | None:
    if score is not None and not 0.0 <= score <= 1.0:
        raise SignalUnusable(
            f"the analysis of response {response_id} has the score {score}; bring the judge's "
            "scores to the scale from 0 to 1 first"
        )
    return score


def _combine(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    weighed = {name: score for name, score in parts.items() if weights[name] > 0}
    if not weighed:
        return None
    total = 0.0
    for name, score in weighed.items():
        if score is None:
            return None
        total += weights[name] * score
    return total / sum(weights[name] for name in weighed)


def _merge_spans(spans: Sequence[Span]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted((span[0], span[1]) for span in spans):
        if end < start:
            raise SignalUnusable(f"the span [{start}, {end}) ends before it starts")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _measure(spans: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans)
