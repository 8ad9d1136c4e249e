"""Reliability cards and consensus on real opinions: three people and two judges on PandaLM's test
set, and the raw answers of GPT-4 from the QLoRA evaluation.

`python -m benchmarks.pandalm --realdata FOLDER`

Prints Markdown tables. FOLDER holds `pandalm_999x3.jsonl.gz` and
`qlora_vicuna_gpt4_ratings.jsonl.gz`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from annotators.consensus import fit_consensus, vote_majority
from annotators.reliability import compare_judges, correlate_judges, make_cards
from annotators.scores import parse_option, parse_scores
from annotators.votes import LABELS, make_votes
from schemas.tables import polars_schema

PEOPLE = ("annotator1", "annotator2", "annotator3")
JUDGES = ("judge_gpt35", "judge_pandalm7b")
VERDICTS = {"1": 1.0, "2": 0.0, "0": 0.5, "Tie": 0.5}
RESAMPLES = 2_000
RIVALS = ("consensus", "majority", "majority, draws random", "two people")
RATINGS = {
    "scores": "-gpt4-reviewer.jsonl",
    "options": "-gpt-4-reviewer-threeclass.jsonl",
}
PARSED = (
    "answers",
    "read",
    "read there too, the same",
    "read otherwise",
    "read here alone",
    "read there alone",
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--realdata", type=Path, required=True)
    folder: Path = parser.parse_args().realdata
    judgments, gold, lengths = read_pandalm(folder)
    print("PandaLM: cards against the majority of the three people\n")
    print_table(
        make_cards(judgments, gold, lengths),
        "annotator", "n", "parse_failures", "accuracy", "accuracy_low", "accuracy_high",
        "accuracy_of_asked", "longer_wins_rate", "longer_wins_base", "longer_wins_excess", "ece",
    )  # fmt: skip
    print("PandaLM: kappa, and correlation of errors against that majority\n")
    pairs = compare_judges(judgments).join(
        correlate_judges(judgments, gold).select("annotator_1", "annotator_2", "both", "phi"),
        on=["annotator_1", "annotator_2"],
        maintain_order="left",
    )
    print_table(pairs)
    print("PandaLM: the third person, predicted from two people and two judges\n")
    print_table(predict_people(judgments))
    ratings, parsed = read_ratings(folder)
    print("QLoRA's GPT-4 ratings: raw answers read\n")
    print_table(parsed)
    print("QLoRA's GPT-4 ratings: cards (no gold)\n")
    print_table(
        make_cards(ratings, gold.clear()),
        "annotator", "n", "n_valid", "parse_failures", "n_both_orders", "orders_agree",
        "order_flip_rate", "first_position_rate",
    )  # fmt: skip


def read_pandalm(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Judgments, gold (the majority of the three people) and lengths (characters).

    Which response the judges saw first is not recorded: `order` is null. A judge's "garbage" is an
    opinion that could not be read.
    """
    opinions: list[dict[str, Any]] = []
    lengths: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for row in _read_lines(folder / "pandalm_999x3.jsonl.gz"):
        pair = {f"response_{side}": f"{row['idx']}:{n}" for side, n in (("a", 1), ("b", 2))}
        lengths += [
            {"response_id": f"{row['idx']}:{n}", "characters": len(str(row[f"response{n}"]))}
            for n in (1, 2)
        ]
        prompt = f"{row['instruction']}\n{row['input']}"
        for name in (*PEOPLE, *JUDGES):
            p_a = VERDICTS.get(str(row[name]))
            kind = "human" if name in PEOPLE else "llm"
            opinions.append(_judge(name, kind, prompt, p_a, **pair))
        said = [VERDICTS[str(row[name])] for name in PEOPLE]
        (leader,) = [value for value in set(said) if said.count(value) > 1]
        people.append({**pair, "p_a": leader, "category": row["motivation_app"]})
    return _frame(opinions), pl.DataFrame(people), pl.DataFrame(lengths)


def read_ratings(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Judgments read from GPT-4's raw answers, and a table that compares the reading with the
    scores that came with them.

    Who answered follows from the file names: the answer ids of several models are the same. Where
    scores were asked for and one model is a guanaco, those ids say that the first of a file's two
    names was shown second.
    """
    opinions: list[dict[str, Any]] = []
    counts = {style: dict.fromkeys(PARSED, 0) for style in RATINGS}
    for row in _read_lines(folder / "qlora_vicuna_gpt4_ratings.jsonl.gz"):
        style = "options" if row["file"].endswith(RATINGS["options"]) else "scores"
        first, second = map(_name_model, row["file"].removesuffix(RATINGS[style]).split("-vs-"))
        if style == "scores" and "guanaco" in first + second:
            first, second = second, first
        ours, p_first = _read_rating(style, row["text"])
        theirs = None if -1 in np.ravel(row["score"]) else tuple(map(float, np.ravel(row["score"])))
        counts[style]["answers"] += 1
        counts[style]["read"] += ours is not None
        counts[style]["read there too, the same"] += ours is not None and ours == theirs
        counts[style]["read otherwise"] += None not in (ours, theirs) and ours != theirs
        counts[style]["read here alone"] += theirs is None and ours is not None
        counts[style]["read there alone"] += ours is None and theirs is not None
        swapped = first > second
        p_a = 1 - p_first if swapped and p_first is not None else p_first
        ids = sorted(f"{model}:{row['question_id']}" for model in (first, second))
        opinions.append(
            _judge(f"gpt4:{style}", "llm", str(row["question_id"]), p_a, *ids,
                   order="ba" if swapped else "ab")
        )  # fmt: skip
    table = pl.DataFrame([{"asked for": style, **count} for style, count in counts.items()])
    return _frame(opinions), table


def _name_model(name: str) -> str:
    """One name for a model in the files of both ways of asking."""
    plain = name.removeprefix("answer-")
    return "gpt-3.5" if plain == "gpt35" else plain


def predict_people(judgments: pl.DataFrame, resamples: int = RESAMPLES) -> pl.DataFrame:
    """For each person: how often the consensus of everybody else says what the person said.

    The rivals are the majority of the same four votes, once with draws called a tie and once with
    draws broken at random (in expectation), and the two other people's word alone (their
    disagreement counted as a tie). Intervals are 95 %, of the difference to each rival, by
    bootstrap over prompts.
    """
    votes = make_votes(judgments)
    prompts = judgments.select(
        pl.concat_str("response_a", pl.lit("|"), "response_b").alias("item"), "prompt_id"
    ).unique()
    rows = []
    for person in (*PEOPLE, "all"):
        tested = PEOPLE if person == "all" else (person,)
        right = pl.concat([_test_person(votes, name) for name in tested])
        right = right.join(prompts, on="item").sort("prompt_id", "item", "person")
        row: dict[str, Any] = {"predicted": person, "n": len(right)}
        row |= {name: right[name].mean() for name in RIVALS}
        for rival in RIVALS[1:]:
            low, high = _bootstrap(right, rival, resamples)
            row[f"minus {rival}"] = (
                f"{row['consensus'] - row[rival]:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
        rows.append(row)
    return pl.DataFrame(rows)


def _test_person(votes: pl.DataFrame, person: str) -> pl.DataFrame:
    others = votes.filter(pl.col("annotator") != person)
    said = votes.filter(pl.col("annotator") == person).select("item", said="label")
    shares = vote_majority(others)
    people = vote_majority(others.filter(pl.col("annotator").is_in(PEOPLE)))
    names = [f"p_{name}" for name in LABELS]
    top = pl.max_horizontal(names)
    leaders = pl.sum_horizontal((pl.col(name) == top).cast(pl.Int64) for name in names)
    draw = pl.coalesce(
        pl.when(pl.col("said") == name).then(pl.col(f"p_{name}") == top) for name in LABELS
    )
    posterior = fit_consensus(others).items
    consensus = pl.coalesce(
        pl.when(pl.col(f"p_{name}") == top).then(pl.lit(name)) for name in LABELS
    )
    return (
        said.join(posterior.select("item", consensus=consensus), on="item")
        .join(shares.select("item", *names, majority="label"), on="item")
        .join(people.select("item", pair="label"), on="item")
        .select(
            "item",
            pl.lit(person).alias("person"),
            (pl.col("consensus") == pl.col("said")).cast(pl.Float64).alias("consensus"),
            (pl.col("majority") == pl.col("said")).cast(pl.Float64).alias("majority"),
            (draw / leaders).alias("majority, draws random"),
            (pl.col("pair") == pl.col("said")).cast(pl.Float64).alias("two people"),
        )
    )


def _bootstrap(right: pl.DataFrame, rival: str, resamples: int) -> tuple[float, float]:
    by_prompt = right.group_by("prompt_id", maintain_order=True).agg(
        gain=(pl.col("consensus") - pl.col(rival)).sum(), n=pl.len()
    )
    gain, n = by_prompt["gain"].to_numpy(), by_prompt["n"].to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(n), (resamples, len(n)))
    means = gain[drawn].sum(axis=1) / n[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _read_rating(style: str, text: str) -> tuple[tuple[float, ...] | None, float | None]:
    """The numbers of an answer, and the probability it gives the response shown first."""
    if style == "options":
        option = parse_option(text, ("1", "2", "3")).value
        return (
            (None, None) if option is None else ((float(option),), (1.0, 0.0, 0.5)[int(option) - 1])
        )
    values = parse_scores(text).values
    if values is None:
        return None, None
    return values, 0.5 + float(np.sign(values[0] - values[1])) / 2


def _judge(
    annotator: str,
    kind: str,
    prompt: str,
    p_a: float | None,
    response_a: str,
    response_b: str,
    order: str | None = None,
) -> dict[str, Any]:
    return {
        "annotator": annotator,
        "kind": kind,
        "prompt_id": prompt,
        "response_a": response_a,
        "response_b": response_b,
        "p_a": p_a,
        "tie": p_a == 0.5,
        "valid": p_a is not None,
        "order": order,
        "sample_index": 0,
    }


def _frame(opinions: list[dict[str, Any]]) -> pl.DataFrame:
    schema = polars_schema("judgments")
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items()]
    held = pl.DataFrame(opinions, schema={name: schema[name] for name in opinions[0]})
    return held.with_columns(
        column for name, column in zip(schema, absent, strict=True) if name not in held
    )


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def print_table(frame: pl.DataFrame, *columns: str) -> None:
    """Print as Markdown, shares with three digits."""
    names = columns or frame.columns
    print("| " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|" + "---|" * len(names))
    for row in frame.select(names).iter_rows():
        cells = (f"{v:.3f}" if isinstance(v, float) else "" if v is None else str(v) for v in row)
        print("| " + " | ".join(cells) + " |")
    print()


if __name__ == "__main__":
    main()
