"""`report.html` of a cleaned pool: its funnel, and a few rows of each rule beside those that stand
for them. Only the rows that are shown are read from the pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engines.pages import render_page
from pipelines.clean.bulk.clusters import Clusters
from pipelines.clean.bulk.pool import TEXTS, read_part
from pipelines.clean.bulk.settle import KEPT, MIRRORED, NOBODY, Settled
from pipelines.clean.bulk.sketch import Sketch
from pipelines.clean.differing import make_sides
from pipelines.clean.funnel import lay_out_funnel
from pipelines.clean.rule_names import name_rule
from pipelines.lake.run import StageSummary

TEMPLATE = "report/pool.html.jinja"
PAGE = "report.html"
EXAMPLES = 3  # of a rule
FEW_ROWS = 1024  # read at a time, since reading ends with the last row that is shown
EXAMPLE = {"item_id": pl.String, "rule": pl.String, "reason": pl.String, "name": pl.String,
           "row": pl.Int64, "beside": pl.Int64, "far": pl.Int64}  # fmt: skip
ORDER = ("identical", "contaminated", "duplicate", "mirrored", "near", "over")


def write_page(
    out: Path, summary: StageSummary, sketches: Sequence[Sketch], clusters: Clusters,
    settled: Settled, decisions: Path,
) -> Path:  # fmt: skip
    """Write the page of a pool whose `decisions` are written; returns it.

    The rows shown of a rule are those that lie, with the rows beside them, nearest to the pool's
    start, so that little of it has to be read.
    """
    met = summary.dropped | summary.quarantined
    wanted = {name: min(rows, EXAMPLES) for name, rows in met.items()}
    few = choose_examples(sketches, clusters, settled, decisions, wanted)
    beside = few["beside"].filter(few["beside"] != NOBODY)
    texts = read_rows(sketches, np.unique(np.concatenate([few["row"], beside])))
    examples: dict[str, list[dict[str, Any]]] = {}
    for row in few.sort("name", "far").iter_rows(named=True):
        sides = make_sides(row["rule"], texts[row["row"]], texts.get(row["beside"], {}))
        examples.setdefault(row["name"], []).append({**row, "sides": sides})
    dropped = dict(sorted(summary.dropped.items(), key=_place))
    stage = {"stage": summary.stage, "rows_in": summary.rows_in, "dropped": dropped,
             "quarantined": summary.quarantined}  # fmt: skip
    rules = [
        {"name": name, "words": name_rule(name) if outcome == "dropped" else name, "rows": rows,
         "outcome": outcome, "examples": examples.get(name, [])}
        for outcome, counts in (("quarantined", summary.quarantined), ("dropped", dropped))
        for name, rows in counts.items()
        if rows
    ]  # fmt: skip
    facts = {
        "rows_in": summary.rows_in,
        "kept": summary.kept,
        "lines": [line | {"stage": ""} for line in lay_out_funnel([stage])],
        "rules": rules,
        "short": list_short(summary.extra.get("quota") or {}),
    }
    page = out / PAGE
    page.write_text(render_page(TEMPLATE, facts), encoding="utf-8")
    return page


def choose_examples(
    sketches: Sequence[Sketch], clusters: Clusters, settled: Settled, decisions: Path,
    wanted: Mapping[str, int],
) -> pl.DataFrame:  # fmt: skip
    """The rows to show: row and beside (numbers in the order of the sketches; `NOBODY` where none
    stands for it), far (the greater), name (the rule, or why it is quarantined), rule, item_id,
    reason; of each name as many as are `wanted`. Decisions are read until no later ones are nearer.
    """
    few, first = pl.DataFrame(schema=EXAMPLE), 0
    for number, sketch in enumerate(sketches):
        near = Counter(few.filter(pl.col("far") < first)["name"].to_list())
        if all(near[name] >= count for name, count in wanted.items()):
            break
        rows = first + np.flatnonzero(settled.rule[first : first + sketch.part.rows] != KEPT)
        first += sketch.part.rows
        if not len(rows):
            continue
        columns = ["item_id", "action", "rule", "reason"]
        frame = pl.read_parquet(decisions / f"part-{number:05}.parquet", columns=columns)
        stands = settled.stands[rows]
        frame = frame.with_columns(
            name=pl.when(action="quarantine").then("reason").otherwise("rule"),
            row=pl.Series(rows),
            beside=pl.Series(stands),
            far=pl.Series(np.maximum(rows, stands)),
        )
        few = _keep_few(pl.concat([few, frame.select(*EXAMPLE)]))
    beside = [
        stands if stands != NOBODY or rule != "mirrored_pair"
        else _find_opposite(row, sketches, clusters, settled)
        for row, rule, stands in few.select("row", "rule", "beside").iter_rows()
    ]  # fmt: skip
    return few.with_columns(beside=pl.Series(beside, dtype=pl.Int64))


def read_rows(sketches: Sequence[Sketch], rows: NDArray[np.int64]) -> dict[int, dict[str, str]]:
    """The texts of some rows (numbers in the order of the sketches, sorted), by name."""
    found: dict[int, dict[str, str]] = {}
    first = 0
    for sketch in sketches:
        wanted = rows[(rows >= first) & (rows < first + sketch.part.rows)]
        at = first
        first += sketch.part.rows
        if not len(wanted):
            continue
        with pq.ParquetFile(sketch.part.path) as file:
            sizes = {g: file.metadata.row_group(g).num_rows for g in sketch.part.groups}
        for group, size in sizes.items():
            mine = wanted[(wanted >= at) & (wanted < at + size)]
            if len(mine):
                part = replace(sketch.part, groups=(group,))
                found |= _read_group(part, mine, at)
            at += size
    return found


def list_short(quota: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[dict[str, Any]]:
    """The quotas that were not met: kind, name, wanted, got, available, short; the worst first."""
    rows = [
        {"kind": kind, "name": name, **row, "short": row["wanted"] - row["got"]}
        for kind, names in quota.items()
        for name, row in names.items()
        if row["got"] < row["wanted"]
    ]
    return sorted(rows, key=lambda row: (-row["short"], row["kind"], row["name"]))


def _read_group(part: Any, wanted: NDArray[np.int64], at: int) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for frame in read_part(part, TEXTS, FEW_ROWS):
        mine = wanted[(wanted >= at) & (wanted < at + len(frame))]
        texts = frame.select(TEXTS)[mine - at].to_dicts()
        for row, text in zip(mine.tolist(), texts, strict=True):
            found[row] = {name: said for name, said in text.items() if said and said.strip()}
        at += len(frame)
        if at > wanted[-1]:
            break
    return found


def _keep_few(frame: pl.DataFrame) -> pl.DataFrame:
    places = frame.select("name", "far").with_row_index("place").sort("far", "place")
    return frame[places.group_by("name").head(EXAMPLES)["place"].sort()]


def _find_opposite(
    row: int, sketches: Sequence[Sketch], clusters: Clusters, settled: Settled
) -> int:
    """Of a contradiction in which nobody won, the first row that says the opposite."""
    turned = np.concatenate([sketch.load("turned") for sketch in sketches])
    group = (clusters.lead == clusters.lead[row]) & (settled.rule == MIRRORED)
    others = np.flatnonzero(group & (turned != turned[row]))
    return int(others[0]) if len(others) else NOBODY


def _place(counted: tuple[str, int]) -> tuple[int, str]:
    """Where a rule stands in the order in which rows meet them."""
    return next((i for i, word in enumerate(ORDER) if counted[0].startswith(word)), 9), counted[0]
