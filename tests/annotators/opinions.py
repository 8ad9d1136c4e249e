"""What tests of consensus, cards and plans share: frames of opinions, votes and gold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from schemas.tables import polars_schema

DEFAULTS = {
    "kind": "llm",
    "prompt_id": "prompt",
    "tie": False,
    "valid": True,
    "sample_index": 0,
}


def make_opinions(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows of `judgments`: give annotator, pair (a number) and p_a (None: could not be read), and
    whatever else is not the default. Each pair is of a prompt of its own."""
    schema = polars_schema("judgments")
    full = []
    for given in rows:
        pair = given.get("pair")
        more = {} if pair is None else {"prompt_id": f"p{pair}", **make_pair(pair)}
        row = {**DEFAULTS, **more, **given}
        row.pop("pair", None)
        if row.get("p_a") is None and row.get("score") is None:
            row["valid"] = False
        full.append({name: row.get(name) for name in schema})
    return pl.DataFrame(full, schema=schema)


def make_pair(pair: int) -> dict[str, str]:
    """The two response ids of a pair by number."""
    return {"response_a": f"{pair:06d}-x", "response_b": f"{pair:06d}-y"}


def make_gold(truth: dict[int, float], category: str = "all") -> pl.DataFrame:
    """Gold of pairs by number."""
    rows = [{**make_pair(pair), "p_a": p_a, "category": category} for pair, p_a in truth.items()]
    schema = {"response_a": pl.String, "response_b": pl.String, "p_a": pl.Float64}
    return pl.DataFrame(rows, schema={**schema, "category": pl.String})


def make_votes(table: dict[str, Sequence[str]]) -> pl.DataFrame:
    """Votes from one text an annotator, a letter an item: a, b, t for a tie, - for none."""
    words = {"a": "a", "b": "b", "t": "tie"}
    rows = [
        (f"i{place:03d}", annotator, words[letter])
        for annotator, said in table.items()
        for place, letter in enumerate(said)
        if letter != "-"
    ]
    schema = {"item": pl.String, "annotator": pl.String, "label": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
