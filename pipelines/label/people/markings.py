"""The errors that people marked, out of the answers of a batch."""

from __future__ import annotations

import json
from collections import defaultdict

import polars as pl

from annotators.people.spans import Span, match_spans, merge_spans

Item = tuple[str, str, str]  # batch, pair_id, role


def list_marks(answers: pl.DataFrame) -> dict[str, list[Span]]:
    """The spans that each annotation marks, of whatever kind; one that marks none is not there.

    Args:
        answers: of `pipelines.label.people.resolving.find_answers`.
    """
    marks: dict[str, list[Span]] = {}
    marked = answers.filter(pl.col("criterion").str.starts_with("span:"))
    for annotation, detail in marked.select("annotation", "detail").iter_rows():
        spans = [(start, end) for start, end, _ in json.loads(detail)["spans"]]
        marks.setdefault(annotation, []).extend(spans)
    return marks


def find_strays(answers: pl.DataFrame) -> list[str]:
    """The annotations that mark other errors than hidden gold knows."""
    marks = list_marks(answers)
    truth = pl.col("why").str.json_path_match("$.truth").alias("truth")
    is_gold = (pl.col("role") == "gold") & (pl.col("criterion") == "spans")
    shown = answers.filter(is_gold).select("annotation", truth).drop_nulls().unique()
    return [
        annotation
        for annotation, known in shown.sort("annotation").iter_rows()
        if not match_spans(marks.get(annotation, []), json.loads(known))
    ]


def merge_marks(counted: pl.DataFrame) -> dict[Item, list[Span]]:
    """What those who answered an item marked together (`annotators.people.spans.merge_spans`).

    Args:
        counted: the answers that count.
    """
    marks = list_marks(counted)
    given: dict[Item, list[str]] = defaultdict(list)
    said = counted.filter((pl.col("criterion") == "spans") & pl.col("score").is_not_null())
    for *item, annotation in said.select("batch", "pair_id", "role", "annotation").iter_rows():
        given[item[0], item[1], item[2]].append(annotation)
    return {
        item: merge_spans([marks.get(annotation, []) for annotation in annotations])
        for item, annotations in given.items()
    }


def compare_marks(counted: pl.DataFrame) -> pl.DataFrame:
    """annotation, value: equal numbers where two people marked the same errors of an item. Whoever
    marks what they marked together has the number of its stretches; nobody else shares a number.

    Args:
        counted: the answers that count.
    """
    marks, merged = list_marks(counted), merge_marks(counted)
    said = counted.filter((pl.col("criterion") == "spans") & pl.col("score").is_not_null())
    values = []
    for place, (annotation, *item) in enumerate(
        said.select("annotation", "batch", "pair_id", "role").iter_rows()
    ):
        common = merged[item[0], item[1], item[2]]
        same = match_spans(marks.get(annotation, []), common)
        values.append((annotation, float(len(common) if same else -1 - place)))
    schema = {"annotation": pl.String, "value": pl.Float64}
    return pl.DataFrame(values, schema=schema, orient="row")
