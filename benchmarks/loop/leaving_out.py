"""Does leaving out find the bad source, and the judge that adds nothing?

    python -m benchmarks.loop.leaving_out [--realdata FOLDER] [--seeds 10] [--pool alpaca]

Prints two Markdown tables, of pools as `benchmarks.loop` makes them. Sources: one of five holds
enough wrong labels (80 % of its own) that a quarter of all are; the others err in 2 %. Voices: one
of eight annotators is the bad one, the judges are right 85 %, 75 % and 60 % of the time with errors
that correlate by 0.3, gold is a random tenth of the pairs, and the exam another tenth.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from annotators.loop.silencing import Pool as VoicedPool
from annotators.loop.silencing import silence_voices
from annotators.marginal import value_parts
from benchmarks.loop.__main__ import FIRST_SEED, SPREADS, load_pool, read_rows
from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.remedies import make_case
from benchmarks.pandalm import print_table

RATE = 0.25
ACCURACIES = (0.85, 0.75, 0.6)
THRESHOLD = 0.75
BAD = "0"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    place = Path(os.environ.get("ASSAY_REALDATA", "../shared/data"))
    parser.add_argument("--realdata", type=Path, default=place)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pool", choices=list(SPREADS), default="alpaca")
    options = parser.parse_args()
    pool = load_pool(options.pool, read_rows(options.pool, options.realdata))
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    print(f"Pool {pool.name}, {len(seeds)} seeds\n\n## Sources\n")
    print_table(summarise([leave_sources(pool, s) for s in seeds], ("value", "random", "beyond")))
    print("\n## Voices\n")
    print_table(summarise([leave_voices(pool, s) for s in seeds], ("value", "kept")))


def leave_sources(pool: Pool, seed: int) -> pl.DataFrame:
    """The rows of `annotators.marginal.value_parts` for sources, with `who`: bad or other."""
    train, exam = split_prompts(pool, seed)
    spoiled = spoil(train, "source", RATE, np.random.default_rng([seed, 7]))
    found, _ = value_parts(
        train.apart * np.where(spoiled.label, 1.0, -1.0)[:, None],
        spoiled.source.astype(str).tolist(),
        exam.apart * np.where(exam.truth, 1.0, -1.0)[:, None],
        exam.prompts.tolist(),
        seed=seed,
    )
    return found.with_columns(who=_name_bad("part", "source"))


def leave_voices(pool: Pool, seed: int) -> pl.DataFrame:
    """The rows of `annotators.loop.silencing.Silenced`, with `who`: which judge, all labels, the
    bad annotator or another."""
    train, _ = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 8])
    spoiled = spoil(train, "annotator", RATE, generator)
    case = make_case(spoiled, seed, generator, accuracies=ACCURACIES)
    asked = ~case.is_gold & (generator.random(len(train)) < 0.1)
    names = tuple(f"judge, {accuracy:.0%}" for accuracy in ACCURACIES)
    told = silence_voices(
        VoicedPool(
            label=case.label,
            judges=names,
            said=case.said,
            apart=train.apart,
            prompts=tuple(train.prompts.tolist()),
            gold=case.gold,
            traits=case.traits.select(
                pl.col("source", "length"), giver=pl.col("annotator").cast(pl.String)
            ),
            sample=case.is_gold,
            exam=np.where(asked, train.truth.astype(float), np.nan),
            seed=seed,
        ),
        THRESHOLD,
    )
    giver = pl.col("what") == "giver"
    who = pl.when(giver).then(_name_bad("voice", "annotator")).otherwise("voice")
    return told.voices.with_columns(who=who)


def summarise(trials: Sequence[pl.DataFrame], measures: Sequence[str]) -> pl.DataFrame:
    """By `who`: n (times left out), and of each measure its mean and how often its interval lies
    above or below nought."""
    every = pl.concat(trials)
    return (
        every.group_by("who", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            *(
                part
                for name in measures
                for part in (
                    pl.col(name).mean().round(4),
                    (pl.col(f"{name}_low") > 0).sum().alias(f"{name} > 0"),
                    (pl.col(f"{name}_high") < 0).sum().alias(f"{name} < 0"),
                )
            ),
        )
        .sort(measures[0], descending=True)
    )


def _name_bad(column: str, kind: str) -> pl.Expr:
    bad = pl.col(column) == BAD
    return pl.when(bad).then(pl.lit(f"the bad {kind}")).otherwise(pl.lit(f"any other {kind}"))


if __name__ == "__main__":
    main()
