"""What a question is asked about, of the pairs that no policy decides."""

from __future__ import annotations

from typing import Any

import polars as pl

from schemas.ids import make_id, make_seed

FEWEST, MOST = 3, 9  # responses of a ranking: two are a preference, and ten nobody can hold in mind
SIDES = ("response_a", "response_b")


def list_targets(pairs: pl.DataFrame, question: str) -> list[dict[str, Any]]:
    """What people can be asked, by review id: the columns of `reviews` that say so, and `pairs`,
    the ids of the pairs that an answer would speak of.

    A preference is about a pair; a ranking about the responses that the undecided pairs of a prompt
    hold, where they are 3 to 9; every other question about each response of a pair.

    Args:
        pairs: pair_id, prompt_id, response_a, response_b, reason.
    """
    if question == "preference":
        return [_make_pair(row) for row in pairs.iter_rows(named=True)]
    responses = pl.concat(
        [pairs.select("pair_id", "prompt_id", "reason", response=pl.col(side)) for side in SIDES]
    )
    by = ["prompt_id"] if question == "ranking" else ["prompt_id", "response"]
    groups = responses.group_by(by).agg(
        pl.col("pair_id").unique().sort().alias("pairs"),
        pl.col("response").unique().sort().alias("ids"),
        pl.col("reason").sort().first(),
    )
    found = [_make_group(row, question) for row in groups.sort(by).iter_rows(named=True)]
    return [
        row for row in found if question != "ranking" or FEWEST <= len(row["responses"]) <= MOST
    ]


def choose_left(review_id: str) -> str:
    """The response that a review shows on the left, by hash."""
    return "a" if make_seed("side", review_id) % 2 else "b"


def shuffle_responses(review_id: str, ids: list[str]) -> list[str]:
    """The order in which a review shows the responses of a ranking, by hash."""
    return sorted(ids, key=lambda i: make_seed(review_id, i))


def _make_pair(row: dict[str, Any]) -> dict[str, Any]:
    review_id = make_id("review", row["pair_id"], "preference")
    columns = ("pair_id", "prompt_id", *SIDES, "reason")
    return {
        **{name: row[name] for name in columns},
        "review_id": review_id,
        "left": choose_left(review_id),
        "responses": None,
        "pairs": [row["pair_id"]],
    }


def _make_group(row: dict[str, Any], question: str) -> dict[str, Any]:
    ids = row["ids"]
    is_group = question == "ranking"
    target = make_id("group", row["prompt_id"], ids) if is_group else ids[0]
    review_id = make_id("review", target, question)
    return {
        "review_id": review_id,
        "pair_id": target,
        "prompt_id": row["prompt_id"],
        "response_a": ids[0],
        "response_b": None,
        "reason": row["reason"],
        "left": None,
        "responses": shuffle_responses(review_id, ids) if is_group else None,
        "pairs": row["pairs"],
    }
