"""Gold pairs to improve a rubric by: from opinions in the lake, or from a file of recorded ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from annotators.rubrics.evolve import GoldPair
from annotators.talk import Item, make_items
from schemas.errors import AssayError
from schemas.ids import make_prompt_id, make_response_id

VERDICTS = {"a": 1.0, "b": 0.0, "tie": 0.5}


class GoldBroken(AssayError):
    """A file of gold that cannot be read; the message names the line and the mend."""


def collect_gold(pairs: pl.DataFrame) -> list[GoldPair]:
    """One gold pair a row.

    Args:
        pairs: `p_a` as `annotators.gold.settle_gold` has it, with the columns of
            `annotators.talk.make_items`.
    """
    return [GoldPair(*pair) for pair in zip(make_items(pairs), pairs["p_a"], strict=True)]


def read_gold(file: Path) -> list[GoldPair]:
    """Gold pairs from recorded opinions, one JSON object a line: `prompt` (text or messages),
    `response_a`, `response_b`, one of `p_a`, `verdict` (A, B or tie) or `score_a` and `score_b`,
    and where known `category`, `answer` and `gold`. A line that says `gold` false is left out;
    several lines on one pair are averaged.

    Raises:
        GoldBroken: cannot be read, or a line without a prompt, two distinct responses or an
            opinion, or with opinions that disagree on which response is better.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GoldBroken(f"{file}: cannot be read ({error}); check the path") from error
    said: dict[str, list[GoldPair]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if row.get("gold") is not False:
                pair = _read_pair(row)
                said.setdefault(pair.item.target, []).append(pair)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GoldBroken(
                f"{file}: line {number}: {error!r}; it must be an object with prompt, response_a, "
                "response_b and one of p_a, verdict, or score_a with score_b"
            ) from error
    return [
        GoldPair(pairs[0].item, sum(pair.p_a for pair in pairs) / len(pairs))
        for pairs in said.values()
    ]


def _read_pair(row: Mapping[str, Any]) -> GoldPair:
    prompt = row["prompt"]
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    prompt_id = make_prompt_id(messages)
    contents = [row["response_a"], row["response_b"]]
    if not all(isinstance(content, str) for content in contents):
        raise ValueError("response_a and response_b must be texts")
    ids = [make_response_id(prompt_id, content) for content in contents]
    if ids[0] == ids[1]:
        raise ValueError("the two responses are the same")
    p_a = _read_opinion(row)
    if ids[0] > ids[1]:
        ids, contents, p_a = ids[::-1], contents[::-1], 1.0 - p_a
    category, answer = row.get("category") or "", row.get("answer")
    item = Item(prompt_id, messages, (ids[0], ids[1]), (contents[0], contents[1]), category, answer)
    return GoldPair(item, p_a)


def _read_opinion(row: Mapping[str, Any]) -> float:
    """The first of what a line says; all must name the same side."""
    said: list[float] = []
    if row.get("p_a") is not None:
        said.append(float(row["p_a"]))
    if row.get("verdict") is not None:
        said.append(VERDICTS[str(row["verdict"]).strip().lower()])
    if not said or row.get("score_a") is not None or row.get("score_b") is not None:
        gap = float(row["score_a"]) - float(row["score_b"])
        said.append(gap if math.isnan(gap) else (1 + (gap > 0) - (gap < 0)) / 2)
    if not all(0 <= p_a <= 1 for p_a in said):
        raise ValueError(f"p_a must be from 0 to 1 and scores numbers, not {said}")
    if len({(p_a > 0.5) - (p_a < 0.5) for p_a in said}) > 1:
        raise ValueError("p_a, verdict and the scores disagree on which response is better")
    return said[0]
