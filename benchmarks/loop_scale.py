"""One iteration of the gold loop over a pool of any size, judges excluded: what it costs.

    python -m benchmarks.loop_scale [--pairs 10000 100000 1000000] [--folder /tmp/pools]

A lake is made (see `benchmarks.loop_scale_pool`; not measured). Then a process of its own does what
`assay loop` and `assay run` do with it: it opens the recipe's view, runs the loop (what speaks, the
reading, the retrieval of what is like the gold pairs that the best probe errs on; the jury answers
by the record, and what it said is read anew; the iteration is measured), and reads the pool for its
labels (`recycle`). Printed are the seconds of wall and CPU (user and system) by step, without what
the jury took, and the largest resident memory. A million pairs take about 10 GB of disk, which is
given back at the end.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.ten_million import _apart

GOAL_SECONDS, GOAL_GIB = 900, 6
JURY = "(jury, excluded)"
STEPS = {
    "what speaks": "pipelines.label.loop.looking:Loop.look",
    "keys of the texts": "pipelines.label.loop.recycling:embed_sides",
    "vectors": "pipelines.label.loop.recycling:compare_keyed",
    "read": "pipelines.label.loop.recycling:read_pool",
    "retrieval: vectors": "pipelines.label.loop.plans:_embed",
    "retrieval: nearest": "pipelines.label.loop.plans:fetch_neighbours",
}
"""What is measured by itself, and where it is called; the rest belongs to the step around it."""


class Clock:
    """Seconds of wall and CPU by step; what a step within another takes is not the other's."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}
        self._open: list[list[float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        inner = [0.0, 0.0]
        self._open.append(inner)
        before = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            taken = [time.monotonic() - before[0], time.process_time() - before[1]]
            self._open.pop()
            for outer in self._open[-1:]:
                outer[0], outer[1] = outer[0] + taken[0], outer[1] + taken[1]
            total = self.steps.setdefault(name, [0.0, 0.0, 0.0])
            total[0] += taken[0] - inner[0]
            total[1] += taken[1] - inner[1]
            total[2] = max(total[2], read_memory("VmRSS"))
            print(f"{name}: {taken[0]:.1f} s, {taken[1]:.1f} CPU s", file=sys.stderr, flush=True)

    def watch(self, name: str, place: str) -> Any:
        """A context in which a function is timed wherever the module of `place` calls it."""
        module_name, _, path = place.partition(":")
        *owners, last = path.split(".")
        owner = functools.reduce(getattr, owners, sys.modules[module_name])
        work: Callable[..., Any] = getattr(owner, last)

        @functools.wraps(work)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.step(name):
                return work(*arguments, **named)

        return mock.patch.object(owner, last, timed)


def read_memory(name: str) -> float:
    """GiB that this process holds (`VmRSS`), or held at most (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024**2
    return 0.0


def iterate(folder: Path) -> dict[str, Any]:
    """Open the pool, run its loop and read it, in this process: what `run_size` prints of it."""
    import polars as pl

    from benchmarks.loop_scale_pool import HELD, make_recipe
    from pipelines.label.loop import iterating
    from pipelines.lake.catalogue import Lake
    from pipelines.lake.run import Run, StageSummary
    from pipelines.steps import open_work, run_step

    clock = Clock()
    answered = 0

    def answer(lake: Lake, run: Run, *given: Any) -> StageSummary:
        """The third judge says what it had not said of these pairs yet."""
        nonlocal answered
        with clock.step(JURY):
            pairs = given[3].select("response_a", "response_b")
            held = pl.scan_parquet(folder / HELD)
            rows = held.join(pairs.lazy(), on=["response_a", "response_b"], how="semi").collect()
            lake.append({"judgments": rows}, run=run, stage="judge")
            answered += len(rows)
        return StageSummary("judge", len(pairs), len(pairs), extra={"calls": 0, "remaining": 0})

    with ExitStack() as open_:
        for name, place in STEPS.items():
            open_.enter_context(clock.watch(name, place))
        open_.enter_context(mock.patch.object(iterating, "judge_pairs", answer))
        work = open_.enter_context(open_work(str(folder / "lake"), make_recipe(), None))
        with clock.step("open the view"):
            found = len(work.look().pairs)
        with clock.step("loop: the rest"):
            told = run_step(work, "judge").extra["iterations"]
        with clock.step("recycle: what speaks"):
            assert len(work.look().evidence.pairs) == found
        with clock.step("recycle: the rest"):
            read = run_step(work, "recycle").extra["reading"]
    return {
        "pairs": found, "steps": clock.steps, "peak": read_memory("VmHWM"), "answered": answered,
        "iterations": told, "readers": read["readers"],
    }  # fmt: skip


def run_size(folder: Path, pairs: int) -> dict[str, Any]:
    """Make a pool of this size, iterate over it in a process of its own, and clear it away."""
    from benchmarks.loop_scale_pool import make_pool

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        started = time.monotonic()
        _apart(make_pool, folder, pairs)
        made = time.monotonic() - started
        disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        command = [sys.executable, "-m", "benchmarks.loop_scale", "--iterate", str(folder)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return {**json.loads(output.splitlines()[-1]), "made": made, "disk": disk / 1e9}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tell(found: dict[str, Any]) -> None:
    """Print what `run_size` found."""
    steps = found["steps"]
    counted = {name: row for name, row in steps.items() if name != JURY}
    wall, cpu = (sum(row[at] for row in counted.values()) for at in (0, 1))
    millions = found["pairs"] / 1e6
    print(f"\n{found['pairs']:,} pairs (lake of {found['disk']:.1f} GB, made in "
          f"{found['made']:.0f} s); the jury answered {found['answered']:,} times")  # fmt: skip
    print(f"  {'step':24} {'wall s':>8} {'CPU s':>8} {'CPU s a million':>16} {'GiB after':>9}")
    for name, (seconds, worked, memory) in steps.items():
        print(f"  {name:24} {seconds:8.1f} {worked:8.1f} {worked / millions:16.1f} {memory:9.2f}")
    print(f"  {'all but the jury':24} {wall:8.1f} {cpu:8.1f} {cpu / millions:16.1f}; "
          f"at most {found['peak']:.2f} GiB resident "
          f"(wanted of a million: {GOAL_SECONDS} s, {GOAL_GIB} GiB)")  # fmt: skip
    for row in found["iterations"]:
        print(f"  iteration {row['number']} ({row['kind']}): {row['pairs']:,} pairs, best probe "
              f"{row['accuracy']:.3f}, together {row['accuracy_read']:.3f}")  # fmt: skip


def main() -> None:
    """Print a table a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--iterate", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.iterate is not None:
        print(json.dumps(iterate(given.iterate)))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="assay-pool-"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for pairs in given.pairs:
        tell(run_size(folder / str(pairs), pairs))


if __name__ == "__main__":
    main()
