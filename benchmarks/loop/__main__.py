"""Does the gold loop pay? Noise planted in real labelled pools, simulated judges who err together.

    python -m benchmarks.loop [--realdata FOLDER] [--seeds 20] [--pool alpaca] [--show 1 2 3 4 5]

Prints Markdown tables. FOLDER (by default `../shared/data`) holds `alpaca_eval_*.parquet` and the
two `hh_*_test.jsonl.gz`. Responses are embedded once by MiniLM (some minutes of one core) into
`loop_vectors.npz` in the Assay home.

Gold is a random tenth of the pairs, three judges are right 75 % of the time each and their errors
correlate by 0.3. The probe reads MiniLM's vectors and what `benchmarks.loop.surface` counts; the
spread of its weights is the one under which `dedup` does best on seeds 0 to 4. Reported seeds are
those from 100 on. `--show full` trains the full small model on what the remedies teach: hours.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.loop.flips import tabulate_flips, try_flips
from benchmarks.loop.full_model import PLAN, cut_texts, tabulate_full, train_kept, try_full
from benchmarks.loop.minutes import tabulate_minutes, try_minutes
from benchmarks.loop.mixing import tabulate_effects, tabulate_mixing, try_mixing
from benchmarks.loop.noise import KINDS
from benchmarks.loop.pools import Pool, make_pool, part_tastes, read_alpaca, read_hh
from benchmarks.loop.prompting import report_prompts
from benchmarks.loop.recorded import report_recorded, report_simulated
from benchmarks.loop.recovery import Trial, pair_up, tabulate_goals, tabulate_scores, try_seed
from benchmarks.pandalm import print_table
from engines.assets import assay_home

PAIRS = 6_000
RATES = {"symmetric": (0.1, 0.25, 0.4), "length": (0.1, 0.25, 0.4), "annotator": (0.25,),
         "source": (0.25,)}  # fmt: skip
FIRST_SEED = 100
SPREADS = {"alpaca": 0.5, "hh": 0.125}
SHOWS = ("1", "2", "3", "4", "5")
LONG = ("full",)  # only where it is asked for: hours


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    place = Path(os.environ.get("ASSAY_REALDATA", "../shared/data"))
    parser.add_argument("--realdata", type=Path, default=place)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pool", choices=list(SPREADS), default="alpaca")
    parser.add_argument("--show", nargs="+", choices=[*SHOWS, *LONG], default=list(SHOWS))
    options = parser.parse_args()
    rows = read_rows(options.pool, options.realdata)
    pool = load_pool(options.pool, rows)
    spread = SPREADS[options.pool]
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    longer = float((np.where(pool.truth, 1, -1) * pool.longer > 0).mean())
    print(f"Pool {pool.name}: {len(pool):,} pairs of {len(np.unique(pool.prompts)):,} prompts, the "
          f"longer response is better in {longer:.1%}; {len(seeds)} seeds\n")  # fmt: skip
    if "1" in options.show:
        for kind in KINDS:
            for rate in RATES[kind]:
                report_recovery([try_seed(pool, kind, rate, s, spread=spread) for s in seeds],
                                kind, rate)  # fmt: skip
    if "2" in options.show:
        for kind in ("symmetric", "length"):
            print(f"## Human minutes, {kind} noise, 25 %\n")
            trials = [try_minutes(pool, kind, 0.25, s, spread=spread) for s in seeds]
            print_table(tabulate_minutes(trials))
    if "3" in options.show:
        report_recorded(options.realdata)
        report_simulated(pool, seeds, spread)
        report_prompts(options.realdata)
    if "4" in options.show:
        for kind in ("symmetric", "length"):
            for rate in (0.1, 0.25, 0.4):
                print(f"## Flips, {kind} noise, {rate:.0%}\n")
                flips = [try_flips(pool, kind, rate, s, spread=spread) for s in seeds]
                print_table(tabulate_flips(flips))
    if "5" in options.show:
        print("## Mixing, one bad source, 25 %\n")
        mixed = [try_mixing(pool, 0.25, s, spread=spread) for s in seeds]
        print_table(tabulate_mixing(mixed))
        print_table(tabulate_effects(mixed))
        used, bad, good = (np.mean([trial[name][0] for trial in mixed])
                           for name in ("used", "bad", "good"))  # fmt: skip
        print(f"- learned weights: used in {used:.0%} of the seeds; of the bad source {bad:.2f}, "
              f"of the others {good:.2f} on average")  # fmt: skip
    if "full" in options.show:
        report_full(pool, rows, seeds, spread)


def read_rows(name: str, folder: Path) -> pl.DataFrame:
    """The pool's texts."""
    return read_alpaca(folder, PAIRS) if name == "alpaca" else read_hh(folder)


def load_pool(name: str, rows: pl.DataFrame) -> Pool:
    """The pool of these texts, embedded."""
    pool = make_pool(name, rows, assay_home() / "loop_vectors.npz")
    return part_tastes(pool, "helpful") if name == "hh" else pool


def report_full(pool: Pool, rows: pl.DataFrame, seeds: range, spread: float) -> None:
    """The table of show "full", after a line for each model as it comes."""
    texts = cut_texts(rows, pool.truth)
    train = train_kept(assay_home() / "loop_full.jsonl")
    trials = []
    for kind, remedy in PLAN:
        for seed in seeds:
            trials.append(try_full(pool, texts, kind, remedy, seed, train, spread=spread))
            print(trials[-1], flush=True)
    print("\n## The full small model, 25 %\n")
    print_table(tabulate_full(pl.DataFrame(trials)))


def report_recovery(trials: list[Trial], kind: str, rate: float) -> None:
    """The tables of one kind and rate of noise."""
    print(f"## Noise recovery, {kind} noise, {rate:.0%}\n", flush=True)
    print_table(tabulate_scores(trials))
    print_table(tabulate_goals(trials))
    facts = {name: np.array([trial.kept[name] for trial in trials]) for name in trials[0].kept}

    def tell(values: np.ndarray) -> str:
        mean, half = pair_up(values)
        return f"{mean:.4f} ± {half:.4f}"

    ratio = facts["error_loop"] / facts["error_dedup"]
    print(f"- {facts['pairs'].mean():,.0f} pairs, {facts['gold'].mean():,.0f} gold; judges "
          f"{facts['judge_accuracy'].mean():.3f} right, error correlation "
          f"{facts['phi'].mean():.3f} (measured)")  # fmt: skip
    lines: list[tuple[str, Callable[[], str]]] = [
        ("label error after dedup", lambda: tell(facts["error_dedup"])),
        ("of the kept labels", lambda: tell(facts["error_loop"])),
        ("their ratio (the goal is at most 0.5)", lambda: tell(ratio)),
        ("coverage", lambda: tell(facts["coverage_loop"])),
        ("plain majority at the same coverage", lambda: tell(facts["error_majority"])),
        ("kept less majority", lambda: tell(facts["error_loop"] - facts["error_majority"])),
        ("precision as independence would claim", lambda: tell(facts["independent_claims"])),
    ]
    for words, say in lines:
        print(f"- {words}: {say()}")
    every = pl.concat([trial.precision for trial in trials])
    within = pl.col("truth").is_between("low", "high")
    print("\nPrecision of the kept labels, estimated and true\n")
    print_table(
        every.drop_nulls(["precision", "truth"])
        .group_by(pl.col("category").fill_null("all"))
        .agg(
            *(pl.col(name).mean() for name in ("n", "n_gold", "claimed", "precision", "truth")),
            error=(pl.col("precision") - pl.col("truth")).abs().mean(),
            width=(pl.col("high") - pl.col("low")).mean(),
            within_interval=within.mean(),
        )
        .sort(pl.col("category") != "all", "category")
    )


if __name__ == "__main__":
    main()
