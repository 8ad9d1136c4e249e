"""Consensus and reliability cards over a million judgments by fifty annotators.

`python -m benchmarks.consensus`

Every measurement is a process of its own: seconds of the work alone (making the votes and importing
are not counted), and the process's peak memory with all of that in it. Where crowd-kit can be
imported, its Dawid-Skene runs on the same votes in the same run (install it anywhere and put that
folder on PYTHONPATH; it is no dependency of Assay).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
ROWS = 1_000_000
ANNOTATORS = 50
EACH = 4  # annotators a pair, in both orders
PAIRS = ROWS // (2 * EACH)
GOLD = 5_000
CATEGORIES = 10
ROUNDS = 20


def main() -> None:
    """Print seconds, peak memory and ratios."""
    if len(sys.argv) > 1:
        print(json.dumps(SIDES[sys.argv[1]]()))
        return
    machine = platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "polars"))
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(f"{ROWS:,} judgments, {ANNOTATORS} annotators, {PAIRS:,} pairs, {GOLD:,} of them in gold")
    ours = {name: measure(name) for name in ("consensus", "cards", "kappa", "fixed")}
    report("Dawid-Skene, as it comes (at most 60 s, 2 GB)", ours["consensus"])
    report("reliability cards (at most 30 s)", ours["cards"])
    report("kappa and error correlation of every two", ours["kappa"])
    report(f"Dawid-Skene, {ROUNDS} rounds, untied, no prior", ours["fixed"])
    if importlib.util.find_spec("crowdkit") is None:
        print("crowd-kit is not installed here: no ratio against it")
        return
    theirs = {name: measure(name) for name in ("crowdkit", "crowdkit_fixed")}
    name = f"crowd-kit {version('crowd-kit')}"
    report(f"{name}, as it comes", theirs["crowdkit"])
    report(f"{name}, {ROUNDS} rounds", theirs["crowdkit_fixed"])
    for what, side, other in (
        ("as they come", ours["consensus"], theirs["crowdkit"]),
        (f"{ROUNDS} rounds each", ours["fixed"], theirs["crowdkit_fixed"]),
    ):
        print(f"ratio, {what}: {other['seconds'] / side['seconds']:.1f} times as fast, "
              f"{side['gigabytes'] / other['gigabytes']:.2f} of the memory")  # fmt: skip


def measure(side: str) -> dict[str, Any]:
    """Run one side in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.consensus", side],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(what: str, found: dict[str, Any]) -> None:
    """One line of the report."""
    rest = ", ".join(f"{key} {value}" for key, value in found.items() if key not in SHOWN)
    print(f"{what:<48}{found['seconds']:8.2f} s  {found['gigabytes']:5.2f} GB  {rest}")


def run_consensus() -> dict[str, Any]:
    """`fit_consensus` with its defaults."""
    from annotators.consensus import fit_consensus

    votes, truth = make_synthetic_votes()
    started = time.perf_counter()
    found = fit_consensus(votes)
    return finish(started, rounds=found.iterations, right=share_right(found.items, truth))


def run_fixed() -> dict[str, Any]:
    """`fit_consensus` with the model of crowd-kit, and a fixed number of rounds."""
    from annotators.consensus import fit_consensus

    votes, truth = make_synthetic_votes()
    started = time.perf_counter()
    found = fit_consensus(
        votes, symmetric=False, smoothing=0.0, max_iterations=ROUNDS, tolerance=-np.inf
    )
    return finish(started, rounds=found.iterations, right=share_right(found.items, truth))


def run_crowdkit(rounds: int | None = None) -> dict[str, Any]:
    """crowd-kit's Dawid-Skene, with its defaults or a fixed number of rounds."""
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene

    votes, truth = make_synthetic_votes()
    frame = votes.rename({"item": "task", "annotator": "worker"}).to_pandas()
    model = DawidSkene() if rounds is None else DawidSkene(n_iter=rounds, tol=-np.inf)
    started = time.perf_counter()
    found = model.fit_predict_proba(frame)
    out = finish(started, rounds=len(model.loss_history_))
    items = pl.DataFrame(
        {"item": list(found.index), **{f"p_{name}": found[name].to_numpy() for name in found}}
    )
    return {**out, "right": share_right(items, truth)}


def run_cards() -> dict[str, Any]:
    """`make_cards` with gold, categories and lengths."""
    from annotators.reliability import make_cards

    judgments, gold, lengths = make_synthetic_judgments()
    started = time.perf_counter()
    cards = make_cards(judgments, gold, lengths)
    return finish(started, cards=len(cards))


def run_kappa() -> dict[str, Any]:
    """The matrices of kappa and error correlation."""
    from annotators.reliability import compare_judges, correlate_judges

    judgments, gold, _ = make_synthetic_judgments()
    started = time.perf_counter()
    pairs = len(compare_judges(judgments))
    return finish(started, pairs=min(pairs, len(correlate_judges(judgments, gold))))


def finish(started: float, **more: Any) -> dict[str, Any]:
    """Seconds since `started` and the peak memory of the process."""
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "gigabytes": peak, **more}


def share_right(items: pl.DataFrame, truth: pl.DataFrame) -> float:
    """The share of items whose likeliest class is the true one."""
    names = ("a", "b", "tie")
    top = pl.max_horizontal(f"p_{name}" for name in names)
    label = pl.coalesce(pl.when(pl.col(f"p_{name}") == top).then(pl.lit(name)) for name in names)
    joined = items.select("item", said=label).join(truth, on="item")
    return round(float((joined["said"] == joined["label"]).sum()) / len(truth), 4)


def make_synthetic_votes() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Votes (item, annotator, label) of the synthetic judgments, and the truth (item, label)."""
    pair, who, _, _, label, truth = _draw()
    votes = pl.DataFrame({"item": _name("p", pair), "annotator": _name("annotator", who),
                          "label": _label(label)})  # fmt: skip
    return votes, pl.DataFrame({"item": _name("p", np.arange(PAIRS)), "label": _label(truth)})


def make_synthetic_judgments() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The same as rows of `judgments`, with gold for the first pairs and lengths for all."""
    pair, who, first, p_a, _, truth = _draw()
    ids = np.arange(PAIRS)
    judgments = pl.DataFrame(
        {
            "annotator": _name("annotator", who),
            "prompt_id": _name("prompt", pair),
            "response_a": _name("ra", pair),
            "response_b": _name("rb", pair),
            "criterion": pl.Series([None], dtype=pl.String).new_from_index(0, ROWS),
            "p_a": p_a,
            "valid": pl.Series(np.random.default_rng(3).random(ROWS) > 0.01),
            "reason": pl.Series([None], dtype=pl.String).new_from_index(0, ROWS),
            "order": pl.Series(np.where(first, "ab", "ba")),
            "sample_index": pl.repeat(0, ROWS, dtype=pl.Int64, eager=True),
            "tokens_in": pl.repeat(400, ROWS, dtype=pl.Int64, eager=True),
            "tokens_out": pl.repeat(1, ROWS, dtype=pl.Int64, eager=True),
            "seconds": pl.repeat(0.2, ROWS, dtype=pl.Float64, eager=True),
        }
    ).with_columns(p_a=pl.when("valid").then("p_a"))
    gold = pl.DataFrame(
        {
            "response_a": _name("ra", ids[:GOLD]),
            "response_b": _name("rb", ids[:GOLD]),
            "p_a": np.array([1.0, 0.0, 0.5])[truth[:GOLD]],
            "category": _name("category", ids[:GOLD] % CATEGORIES),
        }
    )
    lengths = np.random.default_rng(4).integers(20, 2_000, 2 * PAIRS)
    names = pl.concat([_name("ra", ids), _name("rb", ids)])
    return judgments, gold, pl.DataFrame({"response_id": names, "characters": lengths})


def _draw() -> tuple[np.ndarray, ...]:
    """Pair, annotator, shown a first, p_a and label of each judgment, and the truth of each pair.
    Accuracies are between 0.5 and 0.9, with a taste for the first response in some."""
    generator = np.random.default_rng(0)
    truth = generator.choice(3, PAIRS, p=[0.45, 0.45, 0.1])
    pair = np.repeat(np.arange(PAIRS), 2 * EACH)
    who = generator.random((PAIRS, ANNOTATORS)).argsort(axis=1)[:, :EACH].repeat(2, axis=1).ravel()
    first = np.tile([True, False], ROWS // 2)
    accuracy = generator.uniform(0.5, 0.9, ANNOTATORS)
    taste = generator.uniform(0, 0.2, ANNOTATORS)
    wrong = (truth[pair] + generator.integers(1, 3, ROWS)) % 3
    label = np.where(generator.random(ROWS) < accuracy[who], truth[pair], wrong)
    label = np.where(generator.random(ROWS) < taste[who], np.where(first, 0, 1), label)
    sure = generator.uniform(0.51, 1.0, ROWS)
    p_a = np.select([label == 0, label == 1], [sure, 1 - sure], 0.5)
    return pair, who, first, p_a, label, truth


def _name(kind: str, numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers).cast(pl.String).str.zfill(31 - len(kind)) + f"-{kind}"


def _label(codes: np.ndarray) -> pl.Series:
    return pl.Series(np.array(["a", "b", "tie"])[codes])


SHOWN = ("seconds", "gigabytes")
SIDES = {
    "consensus": run_consensus,
    "cards": run_cards,
    "kappa": run_kappa,
    "fixed": run_fixed,
    "crowdkit": run_crowdkit,
    "crowdkit_fixed": lambda: run_crowdkit(ROUNDS),
}

if __name__ == "__main__":
    main()
