"""What a report tells of each batch and of each person on a page of their own: agreement by both
alphas and by kappas, and people and judges weighed in one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from annotators.agreement import compare_annotators
from annotators.consensus import fit_consensus
from annotators.gold import GOLD, select_gold, settle_gold
from annotators.people.agreement import measure_alpha
from annotators.people.annotations import take_latest
from annotators.votes import PAIR, call_label, label_gold, make_votes, merge_within
from pipelines.label.people.assessing import list_annotations
from pipelines.label.people.counting import PEOPLE
from pipelines.lake.catalogue import Lake

LEAST_WEIGHED = 20  # pairs that two voices share, before a model is fit
OF_PAIRS = ("preference", "ranking")
SIDES = {"a": 1, "tie": 0, "b": -1}
Row = dict[str, Any]

MACHINES = """
SELECT annotator, kind, response_a, response_b, criterion, p_a, valid, "order", sample_index
FROM judgments SEMI JOIN asked USING (response_a, response_b)
WHERE kind IN ('llm', 'reward_model') AND valid AND p_a IS NOT NULL AND criterion IS NULL
AND NOT coalesce(gold, false)
"""
RECORDED = f"""
SELECT * FROM judgments SEMI JOIN asked USING (response_a, response_b)
WHERE coalesce(gold, false) AND NOT starts_with(annotator, '{PEOPLE}')
"""


def measure_agreement(answers: pl.DataFrame, question: str) -> Row:
    """How a batch's people agree, of the answers that its gates count: `alpha` (nominal) and
    `ordinal` (`annotators.people.agreement.Alpha` as dictionaries; the ordinal one of strengths
    where a preference has them throughout, else of sides with ties between them, or of the index of
    a step; None of correctness and spans, which have no order), and `kappas`: one, other, kappa, n
    (empty of steps and spans, whose answers are no votes)."""
    counted = pl.col("set_aside").is_null() & (pl.col("role") != "adjudication")
    said = take_latest(list_annotations(answers).filter(counted), None)
    ordinal = None
    if question == "first_wrong_step":
        ordinal = measure_alpha(said.with_columns(pl.col("label").cast(pl.Int64)), metric="ordinal")
    elif question in OF_PAIRS:
        labels = said.filter(pl.col("label").is_not_null())
        sides = pl.col("label").replace_strict(SIDES, default=None, return_dtype=pl.Float64)
        is_strong = len(labels) > 0 and labels["strength"].null_count() == 0
        value = pl.col("strength") if is_strong else sides
        ordinal = measure_alpha(said.with_columns(value=value), "value", "ordinal")
    kappas = pl.DataFrame()
    if question in (*OF_PAIRS, "correctness"):
        kappas = compare_annotators(said.filter(pl.col("label").is_not_null()))
    return {
        "alpha": asdict(measure_alpha(said)),
        "ordinal": asdict(ordinal) if ordinal else None,
        "kappas": [
            {"one": row["annotator_1"], "other": row["annotator_2"], "kappa": row["kappa"],
             "n": row["n"]}
            for row in kappas.iter_rows(named=True)
        ],
    }  # fmt: skip


def weigh_voices(lake: Lake, answers: pl.DataFrame) -> list[Row]:
    """People and the judges that spoke of the same pairs, in one model of Dawid and Skene: a row
    each of annotator, person (true, or false of a machine), n (pairs), accuracy (over the three
    classes, by the model) and ties (the share of its pairs that it calls one), people first.

    Everybody's answers about pairs count, also of whoever is set aside; a judge's orders and
    samples are merged first. Recorded gold is known to the model; what was made of these very
    answers is not. Empty where fewer than `LEAST_WEIGHED` pairs have two voices.

    Args:
        answers: of `pipelines.label.people.resolving.find_answers`.
    """
    about = pl.col("question").is_in(OF_PAIRS) & pl.col("criterion").is_null()
    spoken = answers.filter(about & pl.col("valid") & pl.col("p_a").is_not_null())
    people = (
        spoken.sort("updated_at", "judgment_id")
        .unique([*PAIR, "annotator"], keep="last", maintain_order=True)
        .select(
            "annotator",
            item=pl.concat_str("response_a", pl.lit("|"), "response_b"),
            label=call_label(pl.col("p_a")),
        )
    )
    asked = spoken.select(PAIR).unique()
    machines = merge_within(make_votes(lake.query(MACHINES, asked=asked)))
    votes = pl.concat([people, machines.select(people.columns)])
    voices = votes.group_by("item").agg(n=pl.col("annotator").n_unique())
    if len(voices.filter(pl.col("n") > 1)) < LEAST_WEIGHED:
        return []
    recorded = select_gold(lake.query(RECORDED, asked=asked)).filter(pl.col("voice") == GOLD)
    found = fit_consensus(votes, label_gold(settle_gold(recorded))).annotators
    ties = votes.group_by("annotator").agg(ties=(pl.col("label") == "tie").mean())
    names = set(people["annotator"])
    return (
        found.join(ties, on="annotator")
        .with_columns(person=pl.col("annotator").is_in(list(names)))
        .sort("person", "annotator", descending=[True, False])
        .to_dicts()
    )
