"""What a report says of filtering and of shortcuts: the rate of every rule by source and category,
a few of its rows to read, each beside the one that stands for it, and how much each shortcut
predicts.

The rates are measured when a version is published, where what the rules saw is known, and stand in
its `metrics`; the rows to read come from its decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.clean.differing import TEXT_CHARS, cut_text, make_sides
from pipelines.lake.catalogue import Lake
from pipelines.ship.figures import BLUE, LINE, draw_figure, say_no_data
from pipelines.view import View

EXAMPLES = 3  # of a rule
BY = ("source", "category")
SEEN = {  # stage (before its colon) -> the frame of the view that its rules saw
    "dedup": "pool",
    "decontaminate": "distinct",
    "split": "uncontaminated",
    "quality_prompts": "assigned",
    "filter_responses": "all_rollouts",
    "decontaminate_responses": "whole_rollouts",
    "quality_responses": "clear_rollouts",
    "repeats": "usable_rollouts",
    "label": "labels",
    "filter": "labelled",
    "quality_pairs": "unrepeated",
    "mix": "mixable",
    "match": "mixed",
}
HITS = """
SELECT stage, rule, action, item_kind, item_id, reason, threshold, group_id, representative
FROM decisions
WHERE list_contains(?, scope) AND action IN ('drop', 'mark', 'redact')
"""
TEXTS = """
WITH wanted AS MATERIALIZED (FROM ids)
SELECT prompt_id, array_to_string(list_transform(messages, m -> m.content), chr(10)) FROM prompts
JOIN wanted ON prompt_id = id
UNION ALL
SELECT response_id, content FROM responses JOIN wanted ON response_id = id
"""
PARTS = ("prompt_id", "response_id", "chosen_id", "rejected_id")
UNDECIDED = ("prompt_id", "response_a", "response_b")
QUARANTINED = """
SELECT source, position, row FROM quarantine WHERE stage = ? AND reason = ?
ORDER BY quarantine_id LIMIT ?
"""


def measure_filters(view: View) -> list[dict[str, Any]]:
    """The rate of every rule that hit something in the view's scopes.

    Returns:
        stage, rule, action, kind, threshold, hits, rows (that it saw), `by_source` and
        `by_category`: for each key hits and rows; and `examples`, the `EXAMPLES` with the smallest
        ids: item_id, reason, the ids of their texts, and `beside`: those of the row that stands
        for it or contradicts it, where there is one.
    """
    scopes = sorted(view.scopes.values())
    hits = view.lake.query(HITS, [scopes]).filter(
        pl.col("stage").str.split(":").list.first().is_in(list(SEEN))
    )
    seen: dict[tuple[str, str], pl.DataFrame] = {}
    rows = []
    groups = hits.group_by("stage", "rule", "action", "item_kind")
    order = list(SEEN)

    def place_of(group: tuple[tuple[Any, ...], pl.DataFrame]) -> tuple[Any, ...]:
        stage, *rest = group[0]
        return order.index(stage.split(":")[0]), stage, *rest

    for (stage, rule, action, kind), part in sorted(groups, key=place_of):
        place = (str(stage).split(":")[0], str(kind))
        if place not in seen:
            seen[place] = _find_seen(view, *place)
        rows.append(
            {
                "stage": stage,
                "rule": rule,
                "action": action,
                "kind": kind,
                "threshold": part["threshold"].drop_nulls().first(),
                "hits": len(part),
                "rows": len(seen[place]),
                **{f"by_{name}": _count(seen[place], part, name) for name in BY},
                "examples": _take_examples(seen[place], part),
            }
        )
    return rows


def read_examples(
    lake: Lake, filters: Sequence[Mapping[str, Any]], cover: Callable[[str], str]
) -> list[dict[str, Any]]:
    """The rules as `measure_filters` gave them, whose examples have `sides` (see
    `pipelines.clean.differing.make_sides`), covered where the recipe covers what identifies a
    person."""
    shown = [row for rule in filters for row in rule["examples"]]
    ids = {i for row in shown for i in [*_list_parts(row).values(), *_list_beside(row).values()]}
    wanted = pl.DataFrame({"id": sorted(ids)}, schema={"id": pl.String})
    texts = {i: cover(text) for i, text in lake.query(TEXTS, ids=wanted).iter_rows()}

    def read(parts: Mapping[str, str]) -> dict[str, str]:
        return {name: texts[i] for name, i in parts.items() if i in texts}

    def show(rule: str, row: Mapping[str, Any]) -> dict[str, Any]:
        sides = make_sides(rule, read(_list_parts(row)), read(_list_beside(row)))
        return {**row, "sides": sides}

    return [{**rule, "examples": [show(rule["rule"], row) for row in rule["examples"]]}
            for rule in filters]  # fmt: skip


def read_quarantined(
    lake: Lake, stages: Sequence[Mapping[str, Any]], cover: Callable[[str], str]
) -> list[dict[str, Any]]:
    """What the stages quarantined, by reason: stage, reason, rows, and `examples` (source,
    position, row as JSON, cut and covered)."""
    found = []
    for stage in stages:
        for reason, rows in (stage.get("quarantined") or {}).items():
            few = lake.query(QUARANTINED, [stage["stage"], reason, EXAMPLES])
            texts = [row | {"row": cut_text(cover(row["row"]), TEXT_CHARS)}
                     for row in few.to_dicts()]  # fmt: skip
            found.append({"stage": stage["stage"], "reason": reason, "rows": rows,
                          "examples": texts})  # fmt: skip
    return found


def plot_length_wins(rows: Sequence[Mapping[str, Any]], bound: float | None) -> str:
    """How often the longer response is the chosen one, by how much longer it is.

    Args:
        rows: of `pipelines.clean.bias.tabulate_lengths`.
        bound: what length alone may predict, dashed both ways.
    """
    if not rows:
        return say_no_data("no pair has responses of unequal length")

    def paint(axes: Any) -> None:
        places = range(len(rows))
        for height in (0.5, *((bound, 1 - bound) if bound else ())):
            axes.axhline(height, color=LINE, linewidth=1, linestyle="-" if height == 0.5 else "--")
        for place, row in zip(places, rows, strict=True):
            axes.plot([place] * 2, [row["low"], row["high"]], color=BLUE, linewidth=2)
        axes.plot(places, [row["longer_wins"] for row in rows], color=BLUE, marker="o",
                  markersize=6, linestyle="")  # fmt: skip
        axes.set_ylim(0, 1)
        axes.set_xticks(list(places), [f"{row['ratio_high']:.3g}" for row in rows])
        axes.set_xlabel("longer to shorter, up to (tenths of the pairs)")
        axes.set_ylabel("longer is chosen")

    return draw_figure("length-wins", "How often the longer response is chosen", paint)


def _find_seen(view: View, stage: str, kind: str) -> pl.DataFrame:
    """item_id, source, category and the ids of the texts, of the rows that a stage's rules saw."""
    frame: pl.DataFrame = getattr(view, SEEN[stage])
    if not set(BY) <= set(frame.columns):
        sources = view.pool.select("prompt_id", *BY).unique("prompt_id")
        frame = frame.drop(BY, strict=False).join(sources, on="prompt_id", how="left")
    parts = [part for part in (UNDECIDED if stage == "label" else PARTS) if part in frame.columns]
    return frame.select(pl.col(f"{kind}_id").alias("item_id"), *BY, *parts).unique("item_id")


def _take_examples(seen: pl.DataFrame, hits: pl.DataFrame) -> list[dict[str, Any]]:
    members = hits.drop_nulls("group_id").sort("item_id").group_by("group_id")
    groups = {group: rows["item_id"].to_list() for (group,), rows in members}
    rows = {row["item_id"]: row for row in seen.drop(BY).to_dicts()} if len(hits) else {}
    found = []
    for hit in hits.sort("item_id").head(EXAMPLES).iter_rows(named=True):
        beside = hit["representative"]
        if beside is None:  # of contradictions without a winner: another of the group
            others = (i for i in groups.get(hit["group_id"], []) if i != hit["item_id"])
            beside = next(others, None)
        row = {"item_id": hit["item_id"], "reason": hit["reason"], **rows.get(hit["item_id"], {})}
        found.append(row | ({"beside": rows[beside]} if beside in rows else {}))
    return found


def _list_parts(row: Mapping[str, Any]) -> dict[str, str]:
    """Name of a text -> its id."""
    return {
        part.removesuffix("_id").replace("_", " "): row[part]
        for part in (*PARTS, *UNDECIDED[1:])
        if row.get(part)
    }


def _list_beside(row: Mapping[str, Any]) -> dict[str, str]:
    return _list_parts(row.get("beside") or {})


def _count(seen: pl.DataFrame, hits: pl.DataFrame, name: str) -> dict[str, list[int]]:
    is_hit = pl.col("item_id").is_in(hits["item_id"].implode())
    counted = seen.group_by(name).agg(hits=is_hit.sum(), rows=pl.len()).sort(name)
    return {str(key): [int(n), int(rows)] for key, n, rows in counted.iter_rows()}
