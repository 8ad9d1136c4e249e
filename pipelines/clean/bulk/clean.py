"""A whole pool of Parquet files cleaned: exact, contaminated and near duplicates, and mixed.

    sketch every part (once; any number of processes or machines) -> cluster -> settle -> write

Only sketches read texts. A pool that has grown pays for its new parts, and for the steps over bare
arrays. Killed anywhere, it goes on with the parts that were not sketched.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.clean.bulk.clusters import cluster_rows, list_remembered
from pipelines.clean.bulk.page import write_page
from pipelines.clean.bulk.pool import PoolPart, list_parts
from pipelines.clean.bulk.register import check_names, register_rows
from pipelines.clean.bulk.settle import KEPT as TAKEN
from pipelines.clean.bulk.settle import UNUSABLE, Settled, settle_rows
from pipelines.clean.bulk.sketch import Plan, Sketch, find_sketch, sketch_part
from pipelines.clean.bulk.write import QUARANTINED, write_decisions, write_rows
from pipelines.clean.mix import report_counted
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.mixing import MixSpec

STAGE = "clean"
RULES = 1
STATE, DECISIONS, KEPT, QUARANTINE = "state", "decisions", "kept", "quarantine"
SUMMARY = "summary.json"
UNLISTED = ("cluster", "policy")
Sketcher = Callable[[Sequence[PoolPart], Plan, Path], Iterable[int]]


def clean_pool(
    pool: Path,
    out: Path,
    plan: Plan,
    run: Run,
    *,
    mix: MixSpec | None = None,
    seed: int = 0,
    kept: bool = False,
    sketch: Sketcher | None = None,
    lake: Lake | None = None,
) -> StageSummary:
    """Clean a pool; what was decided is in `out/decisions` (a row for each row that is not kept)
    and `out/summary.json`, with examples in `out/report.html`; rows that cannot be used are in
    `out/quarantine`, and those that are kept in `out/kept` where `kept` says so.

    Args:
        pool: a Parquet file, or a folder of them.
        out: also holds the sketches (`state`), so that the next time only new parts are read.
        sketch: how parts are sketched: called with those that lack one; yields the rows of each as
            it is done. None: here, on two threads.
        lake: where what is decided is registered as well, under the summary's scope; by this
            process alone, whoever sketches.

    Returns:
        The summary. `extra` holds the quota (see `mix.mix_pairs`), parts, sketched (parts that were
        read now), the seconds of each step, and with a lake `registered` (see `register_rows`).

    Raises:
        pipelines.clean.bulk.pool.PoolUnusable
        pipelines.lake.places.LakeError
    """
    started, clock = time.monotonic(), _Clock()
    parts = list_parts(pool)
    state = out / STATE
    missing = [part for part in parts if find_sketch(part, plan, state) is None]
    total, done = sum(part.rows for part in missing), 0
    run.progress(STAGE, 0, total)
    for rows in (sketch or sketch_here)(missing, plan, state):
        done += rows
        run.progress(STAGE, done, total)
    sketches = _order(parts, plan, state)
    if lake is not None:
        check_names(pool, sketches)
    clock.mark("sketch")
    clusters = cluster_rows(sketches, plan.similarity, state / plan.key)
    clock.mark("cluster")
    settled = settle_rows(sketches, clusters, mix, seed)
    clock.mark("settle")
    for name in (DECISIONS, KEPT, QUARANTINE):
        shutil.rmtree(out / name, ignore_errors=True)
    counts = write_decisions(out / DECISIONS, sketches, clusters, settled, plan)
    write_rows(out / QUARANTINE, sketches, settled, UNUSABLE)
    clock.mark("write")
    if kept:
        write_rows(out / KEPT, sketches, settled, TAKEN)
        clock.mark("kept")
    rows_in = sum(part.rows for part in parts)
    summary = StageSummary(
        stage=STAGE,
        rows_in=rows_in,
        kept=rows_in - sum(sum(part.values()) for part in counts.values()),
        dropped=dict(sorted(counts["drop"].items())),
        quarantined=dict(sorted(counts[QUARANTINED].items())),
        seconds=round(time.monotonic() - started, 2),
        scope=make_clean_scope(plan, parts, mix, seed),
        extra={"quota": _report_mix(settled), "parts": len(parts), "sketched": len(missing),
               "steps": clock.seconds},
    )  # fmt: skip
    write_page(out, summary, sketches, clusters, settled, out / DECISIONS)
    (out / SUMMARY).write_text(json.dumps(summary.to_json(), indent=1))
    if lake is None:
        return summary
    files = out / DECISIONS, out / QUARANTINE
    registered = register_rows(lake, run, pool, *files, summary)
    return replace(summary, extra={**summary.extra, "registered": registered})


def make_clean_scope(plan: Plan, parts: Sequence[PoolPart], mix: MixSpec | None, seed: int) -> str:
    """The scope of the decisions on these parts under this plan, in whatever order they are."""
    shares = mix.model_dump(mode="json", exclude={"order", "weigh"}) if mix else None
    config = [plan.key, plan.similarity, shares, seed]
    return make_scope(STAGE, RULES, config, [part.key for part in parts])


def sketch_here(parts: Sequence[PoolPart], plan: Plan, state: Path) -> Iterator[int]:
    """Sketch parts in this process, one after another, each on two threads."""
    for part in parts:
        yield sketch_part(part, plan, state).part.rows


def _order(parts: Sequence[PoolPart], plan: Plan, state: Path) -> list[Sketch]:
    """The sketches: those that were clustered before in their old order, then the new ones, so that
    what is known of the former holds. A part with the content of another is taken once more."""
    places = {key: place for place, key in enumerate(list_remembered(state / plan.key))}
    found = []
    for part in parts:
        sketch = find_sketch(part, plan, state)
        assert sketch is not None, f"{part.path} was sketched"
        found.append(sketch)
    return sorted(found, key=lambda s: places.get(s.part.key, len(places)))


class _Clock:
    """Seconds since the last mark, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def mark(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


def _report_mix(settled: Settled) -> dict[str, Any]:
    """kind -> name -> wanted, got, available, of quotas and strata."""
    if settled.mixed is None:
        return {}
    counted, reached, _ = settled.mixed
    return {
        part.kind: report_counted(part, got)
        for part, got in zip(counted, reached, strict=True)
        if part.kind not in UNLISTED
    }
