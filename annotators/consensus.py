"""What people and machines say together: Dawid-Skene, weighted votes, majorities.

All take votes (see `annotators.votes`) and give one row an item:

    item, p_a, p_b, p_tie   the probabilities of the three classes, which add up to one
    entropy                 of the three, in bits: 0 is certain, log2(3) = 1.585 knows nothing
    n                       votes counted

`p_a + p_tie / 2` is the pair's probability; the entropy says which items people should see.

Dawid and Skene (1979), "Maximum likelihood estimation of observer error-rates using the EM
algorithm", with clamped gold, tied confusions and a prior added here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from annotators.dawid_skene import CLASSES, PRIOR_ROW, Fit, Tally, run_em
from annotators.votes import (
    LABELS,
    VotesUnreadable,
    check_votes,
    count_labels,
    lead_label,
)

SMOOTHING = 4.0  # pseudo-votes of the prior


@dataclass(frozen=True, eq=False)
class Consensus:
    """What `fit_consensus` found.

    Attributes:
        items: item, p_a, p_b, p_tie, entropy (bits), n; sorted by item.
        confusions: annotator, truth, p_a, p_b, p_tie: how often the annotator says each label
            where the truth is `truth`. Three rows an annotator.
        annotators: annotator, n (votes), accuracy (the chance to say the truth, over the prior).
        prior: the share of each class (a, b, tie) among the items.
        log_likelihood: of the votes that teach (natural log), with the prior's penalty where there
            is one.
        iterations: rounds of EM; `max_iterations` of them means that it was cut off.
    """

    items: pl.DataFrame
    confusions: pl.DataFrame
    annotators: pl.DataFrame
    prior: tuple[float, float, float]
    log_likelihood: float
    iterations: int


def fit_consensus(
    votes: pl.DataFrame,
    gold: pl.DataFrame | None = None,
    *,
    symmetric: bool = True,
    smoothing: float = SMOOTHING,
    max_iterations: int = 200,
    tolerance: float = 1e-7,
) -> Consensus:
    """Weigh everybody by a confusion matrix that their agreement with the others (and with gold)
    has earned: expectation maximisation from the vote shares, deterministic, whatever the order
    of the rows.

    Items teach where gold knows them or two annotators spoke: a lone vote says nothing of whoever
    gave it. Its item gets the posterior of what was learnt elsewhere; somebody whom nobody ever
    checked is taken to be right as often as the prior says (0.7), however much was said.

    Several votes of one annotator on one item count as independent ones, which a judge's samples
    and orders are not: put them through `merge_within` first. Errors that judges share (see
    `agreement.correlate_errors`) make the posterior too sure of itself.

    Args:
        votes: item, annotator, label.
        gold: item, label: the truth where it is known; clamps those posteriors. Items of gold
            without a vote are in the result (n = 0).
        symmetric: treat `a` and `b` alike, in confusions and class shares. Which of two ids is
            smaller is chance, so this halves what there is to learn, and renaming the responses
            of an item changes nothing but that item's p_a and p_b.
        smoothing: pseudo-votes added to each row of a confusion matrix (0.7 of them right, 0.15 on
            each wrong class) and to the class shares (evenly). 0 is maximum likelihood.
        max_iterations: rounds at most.
        tolerance: stop when a round gains less log likelihood than this for each vote.

    Raises:
        VotesUnreadable: see `check_votes`; or gold names an item twice, with different labels.
    """
    check_votes(votes, ("item", "annotator", "label"))
    truth = _check_gold(gold)
    items = pl.concat([votes["item"].cast(pl.String), truth["item"]]).unique().sort()
    annotators = votes["annotator"].cast(pl.String).unique().sort()
    tally = _tally(votes, truth, items, annotators)
    fit = run_em(
        tally,
        symmetric=symmetric,
        smoothing=smoothing,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return _report(tally, fit, items, annotators)


def vote_majority(votes: pl.DataFrame) -> pl.DataFrame:
    """The shares of the votes, everybody alike.

    Returns:
        item, label (a draw of the leaders is a tie), p_a, p_b, p_tie (shares), entropy, n.

    Raises:
        VotesUnreadable: see `check_votes`.
    """
    check_votes(votes, ("item", "label"))
    counted = votes.group_by("item").agg(count_labels()).with_columns(label=lead_label())
    shares = [(pl.col(f"n_{name}") / pl.col("n")).alias(f"p_{name}") for name in LABELS]
    return _finish(counted.with_columns(shares), "label")


def vote_weighted(votes: pl.DataFrame, accuracies: pl.DataFrame) -> pl.DataFrame:
    """Votes weighed by the log odds of being right: log(2 accuracy / (1 - accuracy)).

    With errors that fall evenly on the two wrong classes and independent annotators, the softmax
    of the summed weights is the posterior of the three classes. An annotator who is right a third
    of the time weighs nothing, one below that votes against its word, and one whose accuracy is
    null or missing weighs nothing (but counts in `n`). Accuracies are held within [0.01, 0.99].

    Args:
        votes: item, annotator, label.
        accuracies: annotator, accuracy: the share of right verdicts over the three classes.

    Returns:
        item, label (the greatest posterior; a draw of the leaders is a tie), p_a, p_b, p_tie,
        entropy, n.

    Raises:
        VotesUnreadable: see `check_votes`.
    """
    check_votes(votes, ("item", "annotator", "label"))
    check_votes(accuracies, ("annotator", "accuracy"), "accuracies")
    right = pl.col("accuracy").clip(0.01, 0.99)
    weights = accuracies.select("annotator", weight=((CLASSES - 1) * right / (1 - right)).log())
    totals = [
        pl.col("weight").filter(pl.col("label") == name).sum().round(9).alias(f"n_{name}")
        for name in LABELS
    ]
    summed = (
        votes.join(weights, on="annotator", how="left")
        .with_columns(pl.col("weight").fill_null(0.0))
        .sort("item", "annotator", "label")
        .group_by("item", maintain_order=True)
        .agg(*totals, pl.len().cast(pl.Int64).alias("n"))
        .with_columns(label=lead_label())
    )
    top = pl.max_horizontal(f"n_{name}" for name in LABELS)
    raised = {name: (pl.col(f"n_{name}") - top).exp() for name in LABELS}
    total = pl.sum_horizontal(raised.values())
    return _finish(
        summed.with_columns((raised[name] / total).alias(f"p_{name}") for name in LABELS), "label"
    )


def measure_accuracies(votes: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """How often each annotator says what gold says; where gold shares no item with anybody, how
    often what the majority says, on items that two or more have judged.

    `SMOOTHING` pseudo-votes of the prior of `fit_consensus` are added, so that somebody whom
    nothing has measured counts as right 0.7 of the time, and nobody is infallible.

    Args:
        votes: item, annotator, label; one an item and annotator.
        gold: item, label; one an item.

    Returns:
        annotator, accuracy; sorted, everybody who voted. For `vote_weighted`.

    Raises:
        VotesUnreadable: see `check_votes`.
    """
    check_votes(votes, ("item", "annotator", "label"))
    check_votes(gold, ("item", "label"), "gold")
    measured = votes.join(gold.select("item", truth="label"), on="item")
    if not len(measured):
        shared = vote_majority(votes).filter(pl.col("n") > 1)
        measured = votes.join(shared.select("item", truth="label"), on="item")
    right = (pl.col("label") == pl.col("truth")).sum() + SMOOTHING * PRIOR_ROW[0]
    share = measured.group_by("annotator").agg(accuracy=right / (pl.len() + SMOOTHING))
    return (
        votes.select("annotator")
        .unique()
        .join(share, on="annotator", how="left")
        .with_columns(pl.col("accuracy").fill_null(PRIOR_ROW[0]))
        .sort("annotator")
    )


def _tally(
    votes: pl.DataFrame, truth: pl.DataFrame, items: pl.Series, annotators: pl.Series
) -> Tally:
    """Equal votes counted, sorted, and named by their places in `items` and `annotators`."""
    text = [pl.col(name).cast(pl.String) for name in ("item", "annotator", "label")]
    places = {
        name: pl.DataFrame({name: values}).with_row_index(f"{name}_at")
        for name, values in (("item", items), ("annotator", annotators), ("label", LABELS))
    }
    coded = (
        votes.select(text)
        .join(places["item"], on="item")
        .join(places["annotator"], on="annotator")
        .join(places["label"], on="label")
        .group_by("item_at", "annotator_at", "label_at")
        .len()
        .sort("item_at", "annotator_at", "label_at")
        .cast(pl.Int64)
    )
    gold = truth.join(places["item"], on="item").join(places["label"], on="label")
    known = np.full(len(items), -1)
    known[gold["item_at"].to_numpy()] = gold["label_at"].to_numpy()
    return Tally(
        item=coded["item_at"].to_numpy(),
        code=(coded["annotator_at"] * CLASSES + coded["label_at"]).to_numpy(),
        count=coded["len"].cast(pl.Float64).to_numpy(),
        known=known,
        annotators=len(annotators),
    )


def _report(tally: Tally, fit: Fit, items: pl.Series, annotators: pl.Series) -> Consensus:
    n = tally.sum_by_item(tally.count).astype(np.int64)
    posterior = [
        pl.Series(f"p_{name}", fit.posterior[:, k], dtype=pl.Float64)
        for k, name in enumerate(LABELS)
    ]
    spoken = np.bincount(tally.code // CLASSES, tally.count, minlength=tally.annotators)
    names = pl.DataFrame({"annotator": annotators})
    rows = fit.confusions.reshape(-1, CLASSES)
    confusions = names.join(
        pl.DataFrame({"truth": LABELS}), how="cross", maintain_order="left_right"
    )
    return Consensus(
        items=_finish(pl.DataFrame({"item": items, "n": n}).with_columns(posterior)),
        confusions=confusions.with_columns(
            pl.Series(f"p_{name}", rows[:, k]) for k, name in enumerate(LABELS)
        ),
        annotators=names.with_columns(
            pl.Series("n", spoken.astype(np.int64)),
            pl.Series("accuracy", np.einsum("akk,k->a", fit.confusions, fit.prior)),
        ),
        prior=(float(fit.prior[0]), float(fit.prior[1]), float(fit.prior[2])),
        log_likelihood=fit.log_likelihood,
        iterations=fit.rounds,
    )


def _finish(frame: pl.DataFrame, *extra: str) -> pl.DataFrame:
    names = [f"p_{name}" for name in LABELS]
    bits = [
        pl.when(pl.col(name) > 0).then(-pl.col(name) * pl.col(name).log(2)).otherwise(0.0)
        for name in names
    ]
    return (
        frame.with_columns(entropy=pl.sum_horizontal(bits))
        .select("item", *extra, *names, "entropy", "n")
        .sort("item")
    )


def _check_gold(gold: pl.DataFrame | None) -> pl.DataFrame:
    if gold is None:
        return pl.DataFrame(schema={"item": pl.String, "label": pl.String})
    check_votes(gold, ("item", "label"), "gold")
    truth = gold.select(pl.col("item").cast(pl.String), pl.col("label").cast(pl.String)).unique()
    twice = truth.filter(pl.col("item").is_duplicated()).sort("item")
    if len(twice):
        raise VotesUnreadable(
            f"gold gives item {twice['item'][0]!r} two different labels; keep one of them"
        )
    return truth
