"""Agreement, standing, gates and minutes over 200,000 annotations by forty people.

`python -m benchmarks.people`

Seconds of the work alone, in one process, the fastest of three rounds. Agreement (both alphas with
their intervals, and all kappas) must take at most 10 seconds, and one alpha no longer than
crowd-kit's, with the same result. Where crowd-kit can be imported, it runs on the same labels in
the same run (install it anywhere and put that folder on PYTHONPATH; it is no dependency of Assay).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from annotators.people.agreement import Alpha, compare_people, measure_alpha
from annotators.people.gates import check_gates
from annotators.people.minutes import sum_minutes
from annotators.people.standing import measure_standing

ROWS = 200_000
PEOPLE = 40
EACH = 3  # people an item
ITEMS = ROWS // EACH + 1
EVERY = 20  # items, of which one is in gold
BATCHES = 10
ROUNDS = 3
LIMIT = 10.0  # seconds


def main() -> None:
    """Print seconds and ratios; end with an error where one is missed."""
    machine = platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "polars"))
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    rows, gold = make_crowd()
    print(f"{len(rows):,} annotations, {PEOPLE} people, {ITEMS:,} items, {len(gold):,} in gold")
    nominal, found = run(lambda: measure_alpha(rows))
    report("alpha, nominal, with interval", nominal, show(found))
    ordinal, found = run(lambda: measure_alpha(rows, "strength", "ordinal"))
    report("alpha, ordinal, with interval", ordinal, show(found))
    kappas, pairs = run(lambda: compare_people(rows))
    report("kappa of every two", kappas, f"{len(pairs)} pairs")
    agreement = nominal + ordinal + kappas
    report("all three", agreement, f"{LIMIT / agreement:.0f} times within {LIMIT:.0f} s")
    seconds, cards = run(lambda: measure_standing(rows.drop("batch"), gold))
    report("standing of every person", seconds, f"{cards['below'].sum()} of {len(cards)} below")
    seconds, cards = run(lambda: measure_standing(rows, gold))
    report("standing of every person in every batch", seconds, f"{len(cards)} rows")
    seconds, gates = run(lambda: check_gates(rows, gold))
    report("gates of every batch", seconds, f"{len(gates)} batches")
    spent = rows.select("batch", "annotator", "seconds", purpose=pl.lit("work"), labels=1)
    seconds, ledger = run(lambda: sum_minutes(spent, by=["batch", "annotator"]))
    report("minutes", seconds, f"{ledger['minutes'].sum():,.0f} in {len(ledger)} rows")
    bare, found = run(lambda: measure_alpha(rows, resamples=0))
    report("alpha, nominal, no interval", bare, f"{found.value:.6f}")
    missed = [f"agreement took {agreement:.1f} s"] if agreement > LIMIT else []
    if importlib.util.find_spec("crowdkit") is None:
        print("crowd-kit: not installed")
    else:
        theirs, value = run_crowdkit(rows)
        report(f"crowd-kit {version('crowd-kit')}, the same", theirs, f"{value:.6f}")
        print(f"ratio: {theirs / bare:.1f} times as fast")
        missed += ["crowd-kit's alpha is faster"] if bare > theirs else []
        missed += ["crowd-kit's alpha is another"] if abs(value - found.value) > 1e-9 else []
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


def run(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest round, and what it found."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - started)
    return best, found


def run_crowdkit(rows: pl.DataFrame) -> tuple[float, float]:
    """crowd-kit's alpha of the labels."""
    from crowdkit.metrics.data import alpha_krippendorff

    labels = rows.select("label", task="item", worker="annotator").to_pandas()
    return run(lambda: alpha_krippendorff(labels))


def report(what: str, seconds: float, found: str) -> None:
    """One line of the report."""
    print(f"{what:<42}{seconds:8.3f} s  {found}")


def show(alpha: Alpha) -> str:
    """Alpha with its interval."""
    return f"{alpha.value:.4f} [{alpha.low:.4f}, {alpha.high:.4f}]"


def make_crowd() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Annotations, with a strength that errs by a step, and gold of every twentieth item."""
    generator = np.random.default_rng(0)
    truth = generator.integers(-2, 3, ITEMS)
    item = np.repeat(np.arange(ITEMS), EACH)[:ROWS]
    who = generator.random((ITEMS, PEOPLE)).argsort(axis=1)[:, :EACH].ravel()[:ROWS]
    accuracy = generator.uniform(0.5, 0.95, PEOPLE)
    step = generator.choice([-1, 1], ROWS) * (generator.random(ROWS) > accuracy[who])
    strength = np.clip(truth[item] + step, -2, 2)
    rows = pl.DataFrame(
        {
            "item": _name("item", item),
            "annotator": _name("person", who),
            "label": pl.Series(CALLED[np.sign(strength) + 1]),
            "strength": strength,
            "seconds": generator.lognormal(3.5, 0.8, ROWS),
            "updated_at": pl.Series(np.arange(ROWS) * 1_000_000).cast(pl.Datetime("us")),
            "batch": _name("batch", item * BATCHES // ITEMS),
            "category": _name("category", item % 7),
        }
    )
    known = np.arange(0, ITEMS, EVERY)
    labels = pl.Series(CALLED[np.sign(truth[known]) + 1])
    return rows, pl.DataFrame({"item": _name("item", known), "label": labels})


def _name(kind: str, numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers).cast(pl.String).str.zfill(31 - len(kind)) + f"-{kind}"


CALLED = np.array(["b", "tie", "a"])

if __name__ == "__main__":
    main()
