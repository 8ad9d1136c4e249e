"""Prototypes of annotators: planted groups, people who do not differ, speed, and real raters.

`python -m benchmarks.prototypes [--realdata FOLDER]`

Planted: 60 people, 20 pairs each, two groups. Vectors are normal in 10 dimensions, a person of
taste w (of length 1) says A with probability S(4 x . w), and accuracy is against the side of x . w
on 100 more pairs each; 13 % of what is said is against it. In one setting the groups are halves
whose tastes are 120 degrees apart, in the other 40 people are against 20 in everything: in both,
one model for all is right on two thirds at most. The target (pooled 66 %, per user 81 %, two
prototypes 96.6 %, groups recovered) is a simulation whose dimension and noise are not written down;
these were chosen to land near it.

Real: see `benchmarks.raters`. FOLDER holds `dices_350_crowdsourced.jsonl.gz`.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from annotators.people.mixture import (
    STARTS,
    Array,
    advance,
    begin,
    climb,
    fit_pool,
    place,
    score,
)
from annotators.people.newcomers import SEEN, trace_newcomers
from annotators.people.opinion_rows import read_rows
from annotators.people.prototypes import (
    LEAST,
    Prototypes,
    fit_prototypes,
    place_annotator,
    predict,
)
from benchmarks.pandalm import print_table

NOISE = 4.0
SETTINGS = {"opposed in part": (2 / 3 * np.pi, 1 / 2), "opposed": (np.pi, 1 / 3)}
SEEDS = 10
ALIKE = 20
ROUNDS = 40
TARGET = {"pooled": 0.66, "per user": 0.81, "prototypes": 0.966, "recovered": 1.0}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--realdata", type=Path)
    folder = parser.parse_args().realdata
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"numpy {np.__version__}\n")  # fmt: skip
    for name, (angle, minority) in SETTINGS.items():
        runs = [try_planted(plant_groups(angle, minority, seed)) for seed in range(SEEDS)]
        print(f"Planted, {name}: {SEEDS} seeds\n")
        print_table(spread_runs(runs))
        print(f"Planted, {name}: somebody new, by opinions seen\n")
        print_table(meet_newcomers(angle, minority))
    print(f"Soft and hard memberships, the best of {STARTS} starts after {ROUNDS} rounds\n")
    print_table(compare_hard())
    print(f"Nobody differs: prototypes chosen, {ALIKE} seeds each\n")
    print_table(try_alike())
    print("Seconds of fit_prototypes, 20 opinions each, three groups\n")
    sizes = ((60, 10), (10_000, 64), (10_000, 384))
    print_table(pl.DataFrame([time_fit(people, d) for people, d in sizes]))
    if folder is not None:
        from benchmarks.raters import report_raters

        report_raters(folder)


@dataclass(frozen=True, eq=False)
class Planted:
    """People of known `group`: what they said, `x` (people, pairs, d) and `y` (people, pairs), and
    pairs held out, `new`, with the side that they would take, `truth`."""

    x: Array
    y: Array
    new: Array
    truth: NDArray[np.bool_]
    group: NDArray[np.int64]

    def list_opinions(self) -> tuple[Array, Array, list[str]]:
        """x, y and annotators, a row an opinion."""
        people, pairs, d = self.x.shape
        names = [f"u{at:05d}" for at in range(people) for _ in range(pairs)]
        return self.x.reshape(-1, d), self.y.ravel(), names


def plant(
    tastes: Array,
    counts: list[int],
    pairs: int,
    seed: int | list[int],
    noise: float = NOISE,
    new: int = 100,
) -> Planted:
    """Groups of `counts` people with the `tastes` (groups, d)."""
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(counts)), counts)
    x = generator.normal(size=(len(group), pairs + new, tastes.shape[1]))
    z = noise * np.einsum("upd,ud->up", x, tastes[group])
    y = (generator.random(z.shape) < expit(z)).astype(np.float64)
    return Planted(x[:, :pairs], y[:, :pairs], x[:, pairs:], z[:, pairs:] > 0, group)


def plant_groups(
    angle: float,
    minority: float,
    seed: int,
    people: int = 60,
    noise: float = NOISE,
    draw: int = 0,
) -> Planted:
    """Two groups, 20 pairs each in 10 dimensions, whose tastes are `angle` (radians) apart.
    Another `draw` is of other people with the same two tastes."""
    one, other = np.linalg.qr(np.random.default_rng([seed, 9]).normal(size=(10, 2)))[0].T
    tastes = np.stack([one, np.cos(angle) * one + np.sin(angle) * other])
    few = round(minority * people)
    return plant(tastes, [people - few, few], 20, [seed, draw], noise)


def try_planted(planted: Planted) -> dict[str, float]:
    """Accuracies of one model for all, one model a person, and prototypes; K as chosen; and the
    share of people in the right group."""
    found = fit_prototypes(*planted.list_opinions())
    own = fit_each(planted, 3.0)
    personal = np.einsum("upd,ud->up", planted.new, own) > 0
    return {
        "pooled": share_right(planted, planted.new @ found.pool > 0),
        "per user": share_right(planted, personal),
        "prototypes": share_right(planted, predict_people(found, planted) > 0.5),
        "recovered": measure_recovery(planted.group, found.memberships.argmax(axis=1)),
        "K": len(found.names),
    }


def spread_runs(runs: list[dict[str, float]]) -> pl.DataFrame:
    """A row a figure: mean, standard deviation, least and greatest over the seeds, and the
    target."""
    rows = []
    for name in runs[0]:
        values = np.array([run[name] for run in runs], dtype=np.float64)
        rows.append({"figure": name, "mean": values.mean(), "sd": values.std(ddof=1),
                     "least": values.min(), "greatest": values.max(),
                     "target": TARGET.get(name)})  # fmt: skip
    return pl.DataFrame(rows)


def meet_newcomers(angle: float, minority: float, seed: int = 0) -> pl.DataFrame:
    """Accuracy by opinions seen: of 2,000 new people against the side they would take, and, as it
    can be measured without knowing that, of people left out against what they said."""
    planted = plant_groups(angle, minority, seed)
    x, y, annotators = planted.list_opinions()
    found = fit_prototypes(x, y, annotators)
    new = plant_groups(angle, minority, seed, people=2_000, draw=1)
    left_out = trace_newcomers(
        x, y, annotators, k=len(found.names), prior=found.prior, least=LEAST, seen=SEEN
    )
    right = []
    for n in SEEN:
        said = zip(new.x[:, :n], new.y[:, :n], strict=True)
        placed = np.stack([place_annotator(found, own_x, own_y) for own_x, own_y in said])
        right.append(share_right(new, predict_people(found, new, placed) > 0.5))
    return left_out.select(
        "seen",
        pl.Series("new people, the side they would take", right),
        pl.col("accuracy").alias("people left out, what they said"),
        pl.col("pool_accuracy").alias("the pool on the latter"),
    )


def compare_hard(seeds: int = 6) -> pl.DataFrame:
    """Each annotator's whole weight on the likeliest prototype (hard), or shared out (soft), with
    the number of prototypes given."""
    rows = []
    for name, counts, pairs, d in (
        ("60 people, 20 pairs, d 10", [30, 30], 20, 10),
        ("200 people, 8 pairs, d 64", [100, 60, 40], 8, 64),
    ):
        for hard in (False, True):
            runs = []
            for seed in range(seeds):
                planted = plant(draw_tastes(len(counts), d, seed), counts, pairs, seed)
                runs.append(fit_plainly(planted, len(counts), hard))
            accuracy, recovered = np.mean(runs, axis=0)
            rows.append({"people": name, "memberships": "hard" if hard else "soft",
                         "accuracy": accuracy, "recovered": recovered})  # fmt: skip
    return pl.DataFrame(rows)


def fit_plainly(planted: Planted, k: int, hard: bool, spread: float = 2.0) -> tuple[float, float]:
    """Accuracy and recovery of `k` prototypes with priors of `spread`, nothing chosen."""
    rows = read_rows(*planted.list_opinions(), None)
    tally, ridge = rows.tally(), 1 / spread**2
    pool = fit_pool(tally, ridge)
    state = begin(tally, pool, k, ridge, seed=0)
    for _ in range(ROUNDS):
        state = advance(tally, state, pool, ridge)
        if hard:
            state = replace(state, memberships=np.eye(k)[state.memberships.argmax(axis=2)])
    best = int(state.objective.argmax())
    memberships, _ = place(score(tally, state.weights[best]), state.shares[best])
    p = expit(planted.new @ (state.weights[best] @ rows.basis).T)
    right = share_right(planted, (p * memberships[:, None]).sum(axis=2) > 0.5)
    return right, measure_recovery(planted.group, memberships.argmax(axis=1))


def try_alike() -> pl.DataFrame:
    """How many prototypes are chosen where all people have one taste, sure of it or less sure."""
    rows = []
    for noise in (4.0, 1.0):
        chosen = [
            len(fit_prototypes(*plant_groups(0.0, 0.5, seed, noise=noise).list_opinions()).names)
            for seed in range(ALIKE)
        ]
        rows.append({"logit of a typical pair": noise, "one": chosen.count(1),
                     "two": chosen.count(2), "more": sum(k > 2 for k in chosen)})  # fmt: skip
    return pl.DataFrame(rows)


def time_fit(people: int, d: int) -> dict[str, Any]:
    """Seconds for three groups of half, three tenths and a fifth."""
    counts = [people // 2, 3 * people // 10, people // 5]
    planted = plant(draw_tastes(3, d, 0), counts, 20, seed=0, new=0)
    opinions = planted.list_opinions()
    started, worked = time.perf_counter(), time.process_time()
    found = fit_prototypes(*opinions)
    return {
        "people": people,
        "dimensions": d,
        "seconds": time.perf_counter() - started,
        "processor seconds": time.process_time() - worked,
        "K": len(found.names),
        "recovered": measure_recovery(planted.group, found.memberships.argmax(axis=1)),
    }


def draw_tastes(groups: int, d: int, seed: int) -> Array:
    """Tastes of length 1 (groups, d) that share a part; dimensions matter less and less."""
    tastes = np.random.default_rng([seed, 8]).normal(size=(groups + 1, d))
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    mixed = (tastes[0] / 2 + tastes[1:]) / np.arange(1, d + 1) ** 0.5
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def fit_each(planted: Planted, spread: float) -> Array:
    """Weights (people, d) of everybody alone, on their own pairs."""
    rows = read_rows(*planted.list_opinions(), None)
    nothing = np.zeros(rows.vectors.shape[1])
    starts = np.zeros((len(rows.people), len(nothing)))
    everybody = np.eye(len(rows.people))
    return climb(rows.tally(), everybody, starts, nothing, 1 / spread**2, steps=30) @ rows.basis


def predict_people(found: Prototypes, planted: Planted, memberships: Array | None = None) -> Array:
    """The p (people, pairs) of each one's pairs held out."""
    belongs = found.memberships if memberships is None else memberships
    return np.stack([predict(found, x, of) for x, of in zip(planted.new, belongs, strict=True)])


def share_right(planted: Planted, takes: NDArray[np.bool_]) -> float:
    """The share of pairs held out on which the side is the true one; `takes` has their shape."""
    return float((takes == planted.truth).mean())


def measure_recovery(group: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """The share of people in the right group, prototypes being named as fits best."""
    size = int(max(group.max(), found.max())) + 1
    table = np.zeros((size, size))
    np.add.at(table, (group, found), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(group))


if __name__ == "__main__":
    main()
