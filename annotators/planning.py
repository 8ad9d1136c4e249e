"""Which judges to ask, how often and how to count them, from stored judgments and gold alone.

No model is called: all is read off opinions that are there already. For all of gold and for each
of its categories a plan names

- the jury: which judges, with what weight (after CARINOX, 2509.17458, which picks and combines
  scorers by category; its search is not reproduced: ours is greedy with cross-validation), or
  that none of them beats a guess;
- k: how many samples, by resampling stored ones (after 2512.19905: with a judge that is wrong in
  a way of its own, more samples can hurt); and the temperature that turns weighted votes into
  probabilities;
- whether to drop what a judge's two orders disagree on, and what coverage that costs.

Gold is too little to choose where fewer than `LEAST_GOLD` of its pairs have a verdict, where they
are of fewer than `FOLDS` prompts, or where the 95 % interval of the jury's held-out accuracy is
wider than `WIDEST`. A plan then says so in `reason` and `enough` is false: take the plan for all
categories, or ask people for more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from annotators.agreement import Z, find_interval
from annotators.juries import (
    NONE,
    Places,
    choose_jury,
    choose_samples,
    choose_temperature,
    guess,
    mark,
    weigh,
    weigh_held_out,
)
from annotators.votes import LABELS, PAIR, call_label, check_gold, label_gold, select_opinions

LEAST_GOLD = 50
WIDEST = 0.2
FOLDS = 5  # and no fewer prompts
LEAST_DISAGREEMENTS = 10


@dataclass(frozen=True)
class Juror:
    """A judge of the jury: its accuracy on gold, over `n` pairs, and the weight of its vote, the
    log odds log(2 accuracy / (1 - accuracy)) (see `annotators.consensus.vote_weighted`)."""

    annotator: str
    weight: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class SampleCurve:
    """Accuracy by samples in each order: `points` are (k, accuracy, standard error over pairs),
    `k` the smallest within one standard error of the best; None where gold is too little."""

    annotator: str
    k: int | None
    points: tuple[tuple[int, float, float], ...]
    n: int


@dataclass(frozen=True)
class OrderAdvice:
    """What dropping the pairs would do whose two orders disagree: accuracy before (of the mean of
    both orders) and after, and the share of pairs that is left. `drop` where those pairs are right
    less often with 95 % confidence, and there are ten of them at least."""

    annotator: str
    drop: bool
    accuracy: float
    accuracy_kept: float | None
    coverage: float
    n: int


@dataclass(frozen=True)
class Plan:
    """What gold says about one category (None: about all). `dataclasses.asdict` makes it JSON.

    `accuracy`, with its 95 % Wilson interval `low` to `high`, is of choosing a jury in the same way
    without the pairs that it is tried on (nested cross-validation by prompt), `accuracy_single` of
    the best judge alone, likewise; all are None where the pairs are of too few prompts. `jury` is
    empty where no judge beats a guess: naming a side at random or always a tie, whichever gold
    favours. A pair that no juror gave a verdict on counts as such a guess.
    `log_loss` is that of the softmax of the weighted votes over `temperature`, in nats; both are
    None without a jury.
    """

    category: str | None
    n_gold: int
    enough: bool
    reason: str | None
    jury: tuple[Juror, ...]
    accuracy: float | None
    low: float | None
    high: float | None
    accuracy_single: float | None
    temperature: float | None
    log_loss: float | None
    samples: tuple[SampleCurve, ...]
    orders: tuple[OrderAdvice, ...]


def make_plans(judgments: pl.DataFrame, gold: pl.DataFrame, seed: int = 0) -> list[Plan]:
    """The plan for all of gold, then one a category, by name.

    Leave the annotators out whose word became the gold: they would always be chosen.

    Args:
        judgments: rows of the table `judgments`.
        gold: response_a, response_b, p_a (0, 0.5, 1), category.
        seed: of the folds and the resampling.

    Raises:
        VotesUnreadable: see `annotators.votes.check_gold`.
    """
    truth = check_gold(gold).select(*PAIR, "category")
    known = truth.with_columns(truth=label_gold(gold)["label"])
    verdicts = (
        select_opinions(judgments)
        .filter(pl.col("valid") & pl.col("p_a").is_not_null())
        .select("annotator", "prompt_id", *PAIR, "order", "sample_index", "p_a")
        .join(known, on=PAIR)
        .sort("annotator", *PAIR, "order", "sample_index")
    )
    categories = verdicts["category"].drop_nulls().unique().sort().to_list()
    plans = [_plan(verdicts, None, seed)]
    for category in categories:
        plans.append(_plan(verdicts.filter(pl.col("category") == category), category, seed))
    return plans


def _plan(verdicts: pl.DataFrame, category: str | None, seed: int) -> Plan:
    judges, said, truth, folds = _arrange(verdicts, seed)
    n = len(truth)
    jury = choose_jury(said, truth, folds)
    parts = weigh_held_out(said, truth, folds)
    outer, single = np.zeros(n), np.zeros(n)
    for fold in np.unique(folds):
        out = folds == fold
        inner = choose_jury(said[~out], truth[~out], folds[~out])
        guessed = guess(truth[out], truth[~out])
        outer[out] = mark(parts[out][:, inner].sum(axis=1), truth[out], guessed)
        single[out] = mark(parts[out][:, inner[:1]].sum(axis=1), truth[out], guessed)
    tried = len(np.unique(folds)) == FOLDS
    accuracy = float(outer.mean()) if tried else None
    low, high = find_interval(accuracy, float(n)) if accuracy is not None else (None, None)
    reason = None
    if n < LEAST_GOLD:
        reason = f"{n} pairs of gold with a verdict, fewer than {LEAST_GOLD}"
    elif low is None or high is None:
        reason = f"the {n} pairs of gold are of fewer than {FOLDS} prompts"
    elif high - low > WIDEST:
        reason = f"the jury's accuracy is only known to lie within {low:.2f} and {high:.2f}"
    temperature, loss = (
        choose_temperature(parts[:, jury].sum(axis=1), truth) if jury else (None, None)
    )
    weights, right, asked = weigh(said, truth)
    return Plan(
        category=category,
        n_gold=n,
        enough=reason is None,
        reason=reason,
        jury=tuple(
            Juror(judges[j], float(weights[j]), float(right[j] / asked[j]), int(asked[j]))
            for j in jury
        ),
        accuracy=accuracy,
        low=low,
        high=high,
        accuracy_single=float(single.mean()) if tried else None,
        temperature=temperature,
        log_loss=loss,
        samples=tuple(_plan_samples(verdicts, name, seed) for name in judges),
        orders=tuple(
            advice for name in judges if (advice := _plan_orders(verdicts, name)) is not None
        ),
    )


def _arrange(verdicts: pl.DataFrame, seed: int) -> tuple[list[str], Places, Places, Places]:
    """Judges, the class each gives each pair (the mean over orders of the mean over samples; -1
    for none), gold's class, and folds that keep the pairs of a prompt together."""
    judges = verdicts["annotator"].unique().sort().to_list()
    labels = (
        verdicts.group_by("annotator", *PAIR, "order")
        .agg(pl.col("p_a").mean(), pl.col("truth").first(), pl.col("prompt_id").min())
        .group_by("annotator", *PAIR)
        .agg(pl.col("p_a").mean(), pl.col("truth").first(), pl.col("prompt_id").min())
        .with_columns(label=call_label(pl.col("p_a")))
        .sort(*PAIR, "annotator")
    )
    pairs = labels.select(*PAIR, "truth", "prompt_id").unique(PAIR, keep="first").sort(PAIR)
    place = labels.join(pairs.select(PAIR).with_row_index("at"), on=PAIR, maintain_order="left")
    said = np.full((len(pairs), len(judges)), NONE)
    columns = place["annotator"].cast(pl.Enum(judges)).to_physical().to_numpy()
    said[place["at"].to_numpy(), columns] = _code(place["label"])
    prompts, which = np.unique(pairs["prompt_id"].to_numpy(), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(prompts)) % FOLDS
    return judges, said, _code(pairs["truth"]), fold[which.astype(np.int64)]


def _plan_samples(verdicts: pl.DataFrame, judge: str, seed: int) -> SampleCurve:
    rows = verdicts.filter(pl.col("annotator") == judge).with_columns(
        pair=pl.struct(PAIR).rank("dense") - 1,
        group=pl.struct(*PAIR, pl.col("order").fill_null("-")).rank("dense") - 1,
    )
    pairs = rows.unique("pair").sort("pair")
    points = choose_samples(
        rows["pair"].cast(pl.Int64).to_numpy(),
        rows["group"].cast(pl.Int64).to_numpy(),
        rows["p_a"].to_numpy(),
        _code(pairs["truth"]),
        seed,
    )
    k = None
    if len(pairs) >= LEAST_GOLD and points:
        best = max(points, key=lambda point: point[1])
        k = next(point[0] for point in points if point[1] >= best[1] - best[2])
    return SampleCurve(judge, k, points, len(pairs))


def _plan_orders(verdicts: pl.DataFrame, judge: str) -> OrderAdvice | None:
    sides = (
        verdicts.filter((pl.col("annotator") == judge) & pl.col("order").is_not_null())
        .group_by(*PAIR, "order")
        .agg(pl.col("p_a").mean(), pl.col("truth").first())
        .group_by(PAIR)
        .agg(
            n=pl.len(),
            agree=call_label(pl.col("p_a")).n_unique() == 1,
            right=call_label(pl.col("p_a").mean()) == pl.col("truth").first(),
        )
        .filter(pl.col("n") == 2)
    )
    if not len(sides):
        return None
    kept, lost = (sides.filter(pl.col("agree") == same)["right"] for same in (True, False))
    drop = False
    if len(lost) >= LEAST_DISAGREEMENTS and len(kept):
        shares = [(_share(part), len(part)) for part in (kept, lost)]
        error = sum(share * (1 - share) / n for share, n in shares) ** 0.5
        drop = shares[0][0] - shares[1][0] > Z * error
    return OrderAdvice(
        judge,
        drop,
        _share(sides["right"]),
        _share(kept) if len(kept) else None,
        len(kept) / len(sides),
        len(sides),
    )


def _code(labels: pl.Series) -> Places:
    return labels.cast(pl.Enum(LABELS)).to_physical().cast(pl.Int64).to_numpy()


def _share(right: pl.Series) -> float:
    return float(right.sum()) / len(right)
