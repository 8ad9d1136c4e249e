"""Show 3 without a model: both orders of recorded and of simulated judges, and an analogue of gold
in the prompt.

- **GPT-4's ratings of QLoRA's models** hold both orders, asked in two ways (for two scores, for an
  option). Nobody else has judged these pairs: the reference of one way is the other way where its
  two orders agree, on the pairs that both were asked about. That is the same model once more, so it
  shows how stable a verdict is, not how right.
- **A simulated judge with a taste for the first place**: its opinion of pair i in an order is
  m_i + sqrt(1/2) h_i + sqrt(1/2) e_i,order + or - `bias`, h and e standard normal and m_i towards
  the truth, such that without bias it is right `ACCURACY` of the time in one order.
- **PandaLM's two judges** were asked once, without gold. No recording with gold in the prompt is
  among the data. The analogue corrects what was recorded, by the 8 nearest pairs of gold: it is
  what a reader of the judge and of these pairs could do, and no measure of prompts.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from annotators.loop.retrieval import MOST, find_examples
from annotators.probe import fit_probe
from annotators.reliability import make_cards
from benchmarks.loop.noise import spoil
from benchmarks.loop.orders import (
    WAYS,
    Array,
    Bools,
    combine_orders,
    lean,
    score_sides,
    tabulate_gains,
    tabulate_ways,
)
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import examine, pair_up
from benchmarks.loop.remedies import Case, Lesson
from benchmarks.pandalm import PEOPLE, VERDICTS, print_table, read_ratings
from engines.embedder import embed_texts
from schemas.ids import make_seed

STYLES = ("gpt4:scores", "gpt4:options")
RECORDED = ("judge_gpt35", "judge_pandalm7b")
CONTEXT = 800  # characters of the prompt's end, as where examples are chosen
ACCURACY = 0.75
STEADY = 0.5  # of a simulated opinion's variance, what both orders share
BIASES = (0.0, 0.5, 1.0)
CLEAN = "true labels"
HALF = "both must agree, half of the pairs"
LESSONS = (CLEAN, *WAYS, HALF)
CORRECTIONS = (
    "as recorded",
    "turned where it erred on most of the 8",
    "weighed with the 8",
    "the 8 alone",
)


@dataclass(frozen=True, eq=False)
class Told:
    """PandaLM's pairs on which all people took one side: `near` (pairs, dimensions) are the vectors
    of prompts, `apart` of the first response less the second, unit rows; `said` by judge, the
    probability of the first, NaN where it could not be read."""

    prompts: list[str]
    near: NDArray[np.float32]
    apart: NDArray[np.float32]
    first: Bools
    said: dict[str, Array]


def report_recorded(folder: Path) -> None:
    """Both orders of GPT-4, and the analogue on PandaLM."""
    ratings, _ = read_ratings(folder)
    print("## Both orders, recorded: GPT-4's ratings\n")
    cards = make_cards(ratings, ratings.head(0).select("response_a", "response_b", "p_a",
                                                       category=pl.lit("")))  # fmt: skip
    print_table(cards, "annotator", "n_both_orders", "orders_agree", "order_flip_rate",
                "first_position_rate")  # fmt: skip
    for style, other in (STYLES, STYLES[::-1]):
        arms, pairs, prompts = check_orders(ratings, style, other)
        print(f"{style} against {other} in both orders, {pairs:,} pairs that both asked about, "
              f"{len(prompts):,} of them with a reference\n")  # fmt: skip
        table, shares, names = tabulate_ways(arms, prompts)
        print_table(table)
        print_table(tabulate_gains(shares, names, [(way, WAYS[0]) for way in WAYS[1:]]))
    told = read_told(folder)
    print(f"## After the fact, by the 8 nearest pairs of gold: {len(told.prompts)} pairs\n")
    for judge in RECORDED:
        print(f"{judge}\n")
        arms = correct_verdicts(told, told.said[judge])
        table, shares, names = tabulate_ways(arms, told.prompts)
        print_table(table)
        print_table(
            tabulate_gains(shares, names, [(name, CORRECTIONS[0]) for name in CORRECTIONS[1:]])
        )


def check_orders(
    ratings: pl.DataFrame, style: str, other: str
) -> tuple[dict[str, Array], int, list[str]]:
    """How right each of `WAYS` is by the side that `other` takes in both orders; on how many pairs
    both were asked, and the prompts of those with such a side."""
    mine, theirs = _spread_orders(ratings, style), _spread_orders(ratings, other)
    keys = ["prompt_id", "response_a", "response_b"]
    both = mine.join(theirs, on=keys, suffix="_other").sort(keys)
    first, second = (both[f"{name}_other"].to_numpy() for name in ("ab", "ba"))
    agree = lean(first) * lean(second) > 0
    kept = both.filter(pl.Series(agree))
    is_ab = [make_seed("one order", *row) % 2 == 0 for row in kept.select(keys).iter_rows()]
    ways = combine_orders(kept["ab"].to_numpy(), kept["ba"].to_numpy(), np.array(is_ab, dtype=bool))
    truth = first[agree] > 0.5
    arms = {way: score_sides(p, truth) for way, p in ways.items()}
    return arms, len(both), kept["prompt_id"].to_list()


def _spread_orders(ratings: pl.DataFrame, style: str) -> pl.DataFrame:
    """prompt_id, response_a, response_b, ab, ba: the mean of what was said in each order, of pairs
    that were asked about in both. NaN where nothing could be read."""
    return (
        ratings.filter(pl.col("annotator") == style)
        .group_by("prompt_id", "response_a", "response_b", "order")
        .agg(pl.col("p_a").mean().fill_null(float("nan")))
        .pivot("order", index=["prompt_id", "response_a", "response_b"], values="p_a")
        .filter(pl.col("ab").is_not_null() & pl.col("ba").is_not_null())
    )


def read_told(folder: Path) -> Told:
    """PandaLM's pairs with a side that all people take; texts are embedded."""
    kept: list[dict[str, Any]] = []
    with gzip.open(folder / "pandalm_999x3.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            said = {VERDICTS[str(row[name])] for name in PEOPLE}
            texts = [str(row["response1"]), str(row["response2"])]
            if said in ({0.0}, {1.0}) and texts[0] != texts[1]:
                prompt = f"{row['instruction']}\n\n{row['input']}".strip()
                kept.append({**row, "prompt": prompt, "texts": texts, "first": said == {1.0}})
    names = sorted({row["prompt"] for row in kept})
    near = dict(zip(names, embed_texts([name[-CONTEXT:] for name in names]), strict=True))
    one, other = (embed_texts([row["texts"][side] for row in kept]) for side in (0, 1))
    apart = one - other
    said = {
        judge: np.array([VERDICTS.get(str(row[judge]), np.nan) for row in kept])
        for judge in RECORDED
    }
    return Told(
        [row["prompt"] for row in kept],
        np.stack([near[row["prompt"]] for row in kept]),
        apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-9),
        np.array([row["first"] for row in kept], dtype=bool),
        said,
    )


def correct_verdicts(told: Told, said: Array) -> dict[str, Array]:
    """How right a judge is by each of `CORRECTIONS`. Two halves of the prompts (by hash), each
    corrected by the gold of the other; a verdict that could not be read is a tie.

    `weighed` fits, on the gold that teaches, the judge's lean, its lean times the share right among
    the 8 pairs of the nearest prompts, and the side that the 8 nearest differences of responses
    favour.
    """
    judge = np.nan_to_num(lean(said))
    right = score_sides(np.nan_to_num(said, nan=0.5), told.first)
    found = {name: np.zeros(len(judge)) for name in CORRECTIONS}
    half = np.array([make_seed("half", prompt) % 2 for prompt in told.prompts])
    for fold in (0, 1):
        teach, exam = np.flatnonzero(half != fold), np.flatnonzero(half == fold)
        (taught, _), (asked, errs) = (
            _look_around(told, judge, right, mine, teach) for mine in (teach, exam)
        )
        sides = {
            "as recorded": judge[exam],
            "turned where it erred on most of the 8": judge[exam] * np.where(errs < 0.5, -1, 1),
            "weighed with the 8": asked @ fit_probe(taught, told.first[teach], 1.0),
            "the 8 alone": asked[:, 2] * np.sign(fit_probe(taught[:, 2:], told.first[teach], 1.0)),
        }
        for name, side in sides.items():
            found[name][exam] = score_sides(0.5 + np.sign(side) / 2, told.first[exam])
    return found


def _look_around(
    told: Told, judge: Array, right: Array, mine: NDArray[np.int64], teach: NDArray[np.int64]
) -> tuple[Array, Array]:
    """The design of `weighed` (pairs, 3), and the share right among the 8 nearest prompts' pairs;
    gold is of `teach`, and never of a pair's own prompt."""
    own, others = ([told.prompts[at] for at in places] for places in (mine, teach))
    by_prompt = find_examples(told.near[mine], own, told.near[teach], others, MOST)
    correct = np.array([right[teach][places].mean() for places in by_prompt])
    both_ways = np.vstack([told.apart[teach], -told.apart[teach]])
    signs = np.where(told.first[teach], 1.0, -1.0)
    by_apart = find_examples(told.apart[mine], own, both_ways, others * 2, MOST)
    favour = np.array([np.concatenate([signs, -signs])[places].mean() for places in by_apart])
    spread = judge[mine] * (correct - right[teach].mean())
    return np.column_stack([judge[mine], spread, favour]), correct


def ask_in_orders(
    truth: Bools, bias: float, generator: np.random.Generator, accuracy: float = ACCURACY
) -> tuple[Array, Array]:
    """What a judge who leans to the first place by `bias` says with a, and with b, shown first:
    (pairs) of 1 or 0, that a is better. See the module."""
    n = len(truth)
    held = np.where(truth, 1, -1) * norm.ppf(accuracy)
    held = held + np.sqrt(STEADY) * generator.normal(size=n)
    noise = np.sqrt(1 - STEADY) * generator.normal(size=(2, n))
    first, second = ((held + noise[at] + lead > 0).astype(float)
                     for at, lead in ((0, bias), (1, -bias)))  # fmt: skip
    return first, second


def try_orders(pool: Pool, bias: float, seed: int, *, spread: float) -> dict[str, float]:
    """One seed: what the judge is like, how right and how many the labels of each way are, and how
    right the probe is that they teach (on prompts held out)."""
    train, exam = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 3, round(1000 * bias)])
    p_ab, p_ba = ask_in_orders(train.truth, bias, generator)
    is_ab = generator.random(len(train)) < 0.5
    ways = combine_orders(p_ab, p_ba, is_ab)
    half = generator.permutation(len(train)) < len(train) // 2
    ways |= {CLEAN: train.truth.astype(float), HALF: np.where(half, ways[WAYS[2]], np.nan)}
    case = Case(spoil(train, "symmetric", 0.0, generator), np.column_stack([p_ab, p_ba]),
                np.zeros(len(train), dtype=bool), seed, spread)  # fmt: skip
    facts = {
        "first chosen": float(np.concatenate([p_ab, 1 - p_ba]).mean()),
        "orders agree": float((p_ab == p_ba).mean()),
    }
    for name in LESSONS:
        p = ways[name]
        said = ~np.isnan(p)
        target = np.nan_to_num(p)
        lesson = Lesson(target, said.astype(float), said, (target > 0.5).astype(float))
        facts[f"right, {name}"] = float(np.nanmean(score_sides(p, train.truth)))
        facts[f"kept, {name}"] = float(said.mean())
        facts[f"probe, {name}"] = examine(case, exam, lesson)
    return facts


def tabulate_orders(trials: list[dict[str, float]]) -> pl.DataFrame:
    """way, right (of its labels), kept, probe, and what the probe gains over one order's, paired
    over the seeds with its 95 % interval."""
    every = {key: np.array([trial[key] for trial in trials]) for key in trials[0]}
    rows = []
    for name in LESSONS:
        gain, half = pair_up(every[f"probe, {name}"] - every[f"probe, {WAYS[0]}"])
        rows.append({"way": name, "right": every[f"right, {name}"].mean(),
                     "kept": every[f"kept, {name}"].mean(),
                     "probe": every[f"probe, {name}"].mean(),
                     "gain": gain, "low": gain - half, "high": gain + half})  # fmt: skip
    return pl.DataFrame(rows)


def report_simulated(pool: Pool, seeds: range, spread: float) -> None:
    """A judge with a taste for the first place, by how strong it is."""
    for bias in BIASES:
        trials = [try_orders(pool, bias, seed, spread=spread) for seed in seeds]
        first, agree = (
            np.mean([trial[name] for trial in trials]) for name in ("first chosen", "orders agree")
        )
        print(f"## Both orders, simulated, bias {bias:g}: first chosen {first:.3f}, orders agree "
              f"{agree:.3f}\n")  # fmt: skip
        print_table(tabulate_orders(trials))
