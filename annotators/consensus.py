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
from numpy.typing import NDArray

from annotators.votes import LABELS, VotesUnreadable, check_votes, count_labels, lead_label
from annotators.votes import merge_within as merge_within

Array = NDArray[np.float64]

CLASSES = len(LABELS)
SWAP = [1, 0, 2]  # where each class goes when the two responses change places
PRIOR_ROW = (0.7, 0.15)  # the share of the prior's pseudo-votes that is right, and each wrong one
TINY = 1e-10


@dataclass(frozen=True, eq=False)
class Consensus:
    """What `fit_consensus` found.

    Attributes:
        items: item, p_a, p_b, p_tie, entropy (bits), n; sorted by item.
        confusions: annotator, truth, p_a, p_b, p_tie: how often the annotator says each label
            where the truth is `truth`. Three rows an annotator.
        annotators: annotator, n (votes), accuracy (the chance to say the truth, over the prior).
        prior: the share of each class (a, b, tie) among the items.
        log_likelihood: of the votes (natural log), with the prior's penalty where there is one.
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
    smoothing: float = 4.0,
    max_iterations: int = 200,
    tolerance: float = 1e-7,
) -> Consensus:
    """Weigh everybody by a confusion matrix that their agreement with the others (and with gold)
    has earned: expectation maximisation from the vote shares, deterministic, whatever the order
    of the rows.

    Several votes of one annotator on one item count as independent ones, which a judge's samples
    and orders are not: put them through `merge_within` or `unite_orders` first. Errors that judges
    share (see `agreement.correlate_errors`) make the posterior too sure of itself; so does an
    annotator who shares no item with anybody and none with gold.

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
    table = _count(votes, truth)
    pseudo = np.full((CLASSES, CLASSES), smoothing * PRIOR_ROW[1])
    np.fill_diagonal(pseudo, smoothing * PRIOR_ROW[0])
    share = np.full(CLASSES, smoothing / CLASSES)

    posterior = table.clamp(table.share_votes())
    prior, confusions = _maximise(table, posterior, pseudo, share, symmetric)
    before, gained, rounds = -np.inf, -np.inf, 0
    while rounds < max_iterations:
        rounds += 1
        posterior, gained = _expect(table, prior, confusions)
        gained += float((pseudo * np.log(confusions)).sum() + (share * np.log(prior)).sum())
        prior, confusions = _maximise(table, posterior, pseudo, share, symmetric)
        if gained - before < tolerance * max(table.votes, 1):
            break
        before = gained
    return _report(table, posterior, prior, confusions, gained, rounds)


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


def merge_within_then_across(votes: pl.DataFrame, within: str = "annotator") -> pl.DataFrame:
    """Self-consistency inside each model first (majority over samples and orders), then a
    majority across models, so that a model asked sixteen times has one voice.

    (Skywork-Reward-V2, 2507.01352, section 3: self-consistency within a model, then merged over
    models. Its curation code is not public; this is a re-implementation from the paper.)

    Args:
        votes: item, `within`, label.
        within: the column that says what one model is (see `merge_within`).

    Returns:
        As `vote_majority`; n counts models.
    """
    return vote_majority(merge_within(votes, within))


@dataclass(frozen=True, eq=False)
class _Table:
    """Votes as arrays: row i says `count[i]` times that item `item[i]` has the label and annotator
    of `code[i]` = annotator * 3 + label."""

    items: pl.Series
    annotators: pl.Series
    item: NDArray[np.int64]
    code: NDArray[np.int64]
    count: Array
    known: NDArray[np.int64]  # the class of each item in gold, -1 where it is not

    @property
    def votes(self) -> float:
        return float(self.count.sum())

    def sum_by_item(self, values: Array) -> Array:
        """Sum a number of each vote over the votes of each item."""
        return np.bincount(self.item, values, minlength=len(self.items))

    def share_votes(self) -> Array:
        """The share of each class among the votes of each item; even where there is none."""
        label = self.code % CLASSES
        tally = np.stack(
            [self.sum_by_item(self.count * (label == k)) for k in range(CLASSES)], axis=1
        )
        total = tally.sum(axis=1, keepdims=True)
        return np.where(total > 0, tally / np.maximum(total, 1), 1 / CLASSES)

    def clamp(self, posterior: Array) -> Array:
        rows = np.flatnonzero(self.known >= 0)
        posterior[rows] = 0.0
        posterior[rows, self.known[rows]] = 1.0
        return posterior


def _count(votes: pl.DataFrame, truth: pl.DataFrame) -> _Table:
    rows = votes.select(
        pl.col("item").cast(pl.String),
        pl.col("annotator").cast(pl.String),
        pl.col("label").cast(pl.String),
    )
    items = pl.concat([rows["item"], truth["item"]]).unique().sort()
    annotators = rows["annotator"].unique().sort()
    places = [
        pl.DataFrame({name: values}).with_row_index(f"{name}_at")
        for name, values in (("item", items), ("annotator", annotators))
    ]
    kinds = pl.DataFrame({"label": LABELS}).with_row_index("label_at")
    coded = (
        rows.join(places[0], on="item")
        .join(places[1], on="annotator")
        .join(kinds, on="label")
        .group_by("item_at", "annotator_at", "label_at")
        .len()
        .sort("item_at", "annotator_at", "label_at")
    )
    known = np.full(len(items), -1)
    gold = truth.join(places[0], on="item").join(kinds, on="label")
    known[gold["item_at"].to_numpy()] = gold["label_at"].to_numpy()
    code = coded["annotator_at"].cast(pl.Int64) * CLASSES + coded["label_at"].cast(pl.Int64)
    return _Table(
        items,
        annotators,
        coded["item_at"].cast(pl.Int64).to_numpy(),
        code.to_numpy(),
        coded["len"].cast(pl.Float64).to_numpy(),
        known,
    )


def _maximise(
    table: _Table, posterior: Array, pseudo: Array, share: Array, symmetric: bool
) -> tuple[Array, Array]:
    """Class shares (3) and confusions (annotator, truth, label) from the posteriors."""
    cells = len(table.annotators) * CLASSES
    tally = np.stack(
        [
            np.bincount(table.code, table.count * posterior[table.item, k], minlength=cells)
            for k in range(CLASSES)
        ],
        axis=1,
    )
    counts = tally.reshape(-1, CLASSES, CLASSES).transpose(0, 2, 1)
    classes = posterior.sum(axis=0)
    if symmetric:
        counts = (counts + counts[:, SWAP][:, :, SWAP]) / 2
        classes = (classes + classes[SWAP]) / 2
    counts = np.maximum(counts + pseudo, TINY)
    classes = np.maximum(classes + share, TINY)
    return classes / classes.sum(), counts / counts.sum(axis=2, keepdims=True)


def _expect(table: _Table, prior: Array, confusions: Array) -> tuple[Array, float]:
    """The posterior of each item (item, class), and the log likelihood of the votes and gold."""
    spoken = np.log(confusions).transpose(0, 2, 1).reshape(-1, CLASSES)
    joint = np.stack(
        [
            table.sum_by_item(table.count * spoken[table.code, k]) + np.log(prior[k])
            for k in range(CLASSES)
        ],
        axis=1,
    )
    top = joint.max(axis=1, keepdims=True, initial=-np.inf)
    raised = np.exp(joint - top)
    total = raised.sum(axis=1, keepdims=True)
    told = np.flatnonzero(table.known >= 0)
    evidence = (top + np.log(total))[:, 0]
    evidence[told] = joint[told, table.known[told]]
    return table.clamp(raised / total), float(evidence.sum())


def _report(
    table: _Table, posterior: Array, prior: Array, confusions: Array, gained: float, rounds: int
) -> Consensus:
    n = table.sum_by_item(table.count).astype(np.int64)
    items = pl.DataFrame({"item": table.items, "n": n}).with_columns(
        pl.Series(f"p_{name}", posterior[:, k]) for k, name in enumerate(LABELS)
    )
    spoken = np.bincount(
        table.code // CLASSES, table.count, minlength=len(table.annotators)
    ).astype(np.int64)
    right = np.einsum("akk,k->a", confusions, prior)
    names = pl.DataFrame({"annotator": table.annotators})
    long = names.join(pl.DataFrame({"truth": LABELS}), how="cross")
    rows = confusions.reshape(-1, CLASSES)
    return Consensus(
        items=_finish(items),
        confusions=long.with_columns(
            pl.Series(f"p_{name}", rows[:, k]) for k, name in enumerate(LABELS)
        ),
        annotators=names.with_columns(pl.Series("n", spoken), pl.Series("accuracy", right)),
        prior=(float(prior[0]), float(prior[1]), float(prior[2])),
        log_likelihood=gained if np.isfinite(gained) else 0.0,
        iterations=rounds,
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
