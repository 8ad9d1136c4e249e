"""What there is to say of each source of a version without teaching anything: how many pairs, who
labelled them, how sure and how long, who agrees, and how right gold finds the labels."""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.agreement import find_interval
from annotators.gold import select_gold, settle_gold
from annotators.signals.compare import compare_scores
from annotators.votes import PAIR
from pipelines.label.labelling import find_judgments
from pipelines.label.loop.evidence import MACHINES
from pipelines.label.loop.outcomes import hold_against
from pipelines.label.policies import collect_pairwise
from pipelines.lake.catalogue import Lake
from pipelines.view import View

GOLD_DECIDED = ("human", "gold")
LENGTHS = """
SELECT pair_id, length(c.content) > length(r.content) AS longer,
       length(c.content) <> length(r.content) AS differs
FROM pairs JOIN responses c ON c.response_id = chosen_id
JOIN responses r ON r.response_id = rejected_id ORDER BY pair_id
"""


def describe_sources(
    lake: Lake, view: View, said: pl.DataFrame, content: pl.DataFrame
) -> list[dict[str, Any]]:
    """One object a source, most pairs first.

    Args:
        view: of the version's recipe over the lake as it stood when the version was published.
        said: of `find_said`.
        content: the rows of `version_pairs`.

    Returns:
        source; pairs, train; categories {category: pairs}; labels {kind of opinion that decided:
        pairs}; annotators {kind of those who had a say: pairs}; margin (mean); longer (how often
        the chosen response is the longer one, of pairs whose lengths differ) of longer_n; judges
        [{annotator, n, agree}], how often each machine is on the label's side, a tie being half;
        label_right and came_right {n, right, low, high} or None: how right gold finds the labels
        that gold did not decide itself, and those that the pairs came with.
    """
    sized = content.join(lake.query(LENGTHS, pairs=content), on="pair_id", how="left")
    opinions = hear_all(view, said).filter(pl.col("voice").is_in(MACHINES))
    agreed = _agree(opinions, content)
    gold = _find_gold(view, said)
    label_right = _hold_labels(view, content, gold)
    came = view.evidence.pairs.select("pair_id", "source", p="came").drop_nulls("p")
    came_right = _mark(came.join(gold.select("pair_id", "truth"), on="pair_id"))
    kinds = said.filter(pl.col("annotator").is_not_null()).select("annotator", "kind").unique()
    heard = (
        content.select("pair_id", "source", annotator="annotators")
        .explode("annotator")
        .join(kinds.unique("annotator", keep="first"), on="annotator")
        .unique(["pair_id", "kind"])
    )
    rows = []
    for (name,), mine in sized.group_by("source", maintain_order=True):
        differ = mine.filter(pl.col("differs").fill_null(False))
        rows.append(
            {
                "source": name,
                "pairs": len(mine),
                "train": int(mine["split"].is_in(["train", "gold-teach"]).sum()),
                "categories": _count(mine["category"]),
                "labels": _count(mine["decided_by"]),
                "annotators": _count(heard.filter(source=name)["kind"]),
                "margin": float(mine.select(pl.col("margin").mean()).item()),
                "longer": float(differ.select(pl.col("longer").mean()).item())
                if len(differ)
                else None,
                "longer_n": len(differ),
                "judges": agreed.filter(source=name).drop("source").to_dicts(),
                "label_right": _share(label_right.filter(source=name)),
                "came_right": _share(came_right.filter(source=name)),
            }
        )
    return sorted(rows, key=lambda row: (-row["pairs"], row["source"]))


def place_pairs(view: View) -> pl.DataFrame:
    """The candidate pairs with cluster_id, category, source and split of their prompts; by id."""
    columns = ("prompt_id", "cluster_id", "category", "source", "split")
    return view.pairs.join(view.prompts.select(columns), on="prompt_id").sort("pair_id")


def find_said(view: View) -> pl.DataFrame:
    """All that speaks of the candidate pairs."""
    return find_judgments(view.lake, view.recipe, view.judges, view.pairs, view.variants)


def hear_all(view: View, said: pl.DataFrame) -> pl.DataFrame:
    """One opinion an annotator and pair, see `pipelines.label.policies.collect_pairwise`; scores of
    single responses are compared."""
    return collect_pairwise(view.pairs, pl.concat([said, compare_scores(said, view.pairs)]))


def _find_gold(view: View, said: pl.DataFrame) -> pl.DataFrame:
    """pair_id, source, truth of all gold, the exam's too: it is measured with, and teaches none."""
    found = settle_gold(select_gold(said).join(view.pairs.select(PAIR), on=PAIR, how="semi"))
    placed = place_pairs(view).select("pair_id", "source", *PAIR)
    return found.select(*PAIR, truth="p_a").join(placed, on=PAIR).drop(PAIR)


def _hold_labels(view: View, content: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """source, right: of labels that gold did not decide; where a reading labels, of what it would
    have made of gold pairs, held out."""
    if view.read is not None:
        held = hold_against(view.read.outcomes, gold.select("pair_id", "truth"))
        return held.join(gold.select("pair_id", "source"), on="pair_id").select("source", "right")
    first = pl.col("chosen_id") < pl.col("rejected_id")
    mine = content.filter(~pl.col("decided_by").is_in(GOLD_DECIDED)).select(
        "pair_id", "source", p=pl.when(first).then(1.0).otherwise(0.0)
    )
    return _mark(mine.join(gold.select("pair_id", "truth"), on="pair_id"))


def _agree(opinions: pl.DataFrame, content: pl.DataFrame) -> pl.DataFrame:
    """source, annotator, n, agree; sorted."""
    first = pl.col("chosen_id") < pl.col("rejected_id")
    lean = (pl.col("p_a") - 0.5).sign() * pl.when(first).then(1.0).otherwise(-1.0)
    return (
        opinions.join(content.select("pair_id", "source", "chosen_id", "rejected_id"), on="pair_id")
        .group_by("source", "annotator")
        .agg(n=pl.len().cast(pl.Int64), agree=((1 + lean) / 2).mean())
        .sort("source", "annotator")
    )


def _mark(rows: pl.DataFrame) -> pl.DataFrame:
    """source and right, of source, p and truth."""
    lean = (pl.col("p") - 0.5).sign() * (pl.col("truth") - 0.5).sign()
    return rows.select("source", right=(1 + lean) / 2)


def _share(rows: pl.DataFrame) -> dict[str, Any] | None:
    if rows.is_empty():
        return None
    right = float(rows.select(pl.col("right").mean()).item())
    low, high = find_interval(right, float(len(rows)))
    return {"n": len(rows), "right": right, "low": float(low), "high": float(high)}


def _count(values: pl.Series) -> dict[str, int]:
    counts = values.drop_nulls().value_counts().sort(["count", values.name],
                                                     descending=[True, False])  # fmt: skip
    return dict(counts.iter_rows())
