"""Recorded opinions: who said what of which two responses, one record a row.

This is the layout `judgments`, for opinions that were collected elsewhere, by people or machines.
`p_a`, `verdict`, the scores and `order` always speak of the record's own `response_a` and
`response_b`, whatever order they were shown in; `pipelines.lake.intake` turns all of them round
where the ids of the two responses sort the other way.

| field                      | value                   | meaning                                 |
|----------------------------|-------------------------|-----------------------------------------|
| `annotator`                | text                    | stored as `import:<name>/<annotator>`   |
| `kind`                     | one of `JUDGMENT_KINDS` | who ever it was; `import`: not known    |
| `prompt`                   | text or messages        | text: a user's turn, or HH transcript   |
| `response_a`, `response_b` | texts                   | the two compared                        |
| `p_a`                      | number from 0 to 1      | probability that `response_a` is better |
| `verdict`                  | `A`, `B` or `tie`       | the better one                          |
| `score_a` and `score_b`    | numbers                 | the higher is better; kept in `detail`  |
| `order`                    | `ab` or `ba`            | `ab`: `response_a` was shown first      |
| `sample_index`             | integer from 0          | which of its samples; 0 if absent       |
| `gold`                     | true or false           | true: this is the truth                 |
| `category`                 | text                    | the category of the prompt              |
| `criterion`                | text                    | what it is about; absent: overall       |
| `critique`, `raw`          | texts                   | reasons given; the answer as it came    |
| `tokens_in`, `tokens_out`  | integers from 0         | what it cost                            |
| `seconds`                  | number from 0           | how long it took                        |
| `licence`                  | text                    | that of the source if absent            |

The first four rows are needed, and one of `p_a`, `verdict` and the two scores. Where a record has
several of these they must agree, and `p_a` is the one that is kept. `tie` is set by a verdict of
`tie` and by equal scores; a `p_a` of 0.5 says that either may be better. A null is the same as an
absent key, but for one case: a record with `raw`, whose `p_a`, `verdict` or scores are there and
null, is an answer that nobody could read, and becomes a judgment that is not valid. Records that
are equal in all but `category` and `licence` are one opinion: give the samples of one annotator
their `sample_index`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pipelines.lake.parts import (
    Comparison,
    ImportedRow,
    Source,
    find_count,
    find_name,
    find_number,
    find_text,
    get_text,
    make_row,
    read_messages,
    read_prompt,
)
from schemas.evidence import JUDGMENT_KINDS

NEEDED = ("annotator", "kind", "prompt", "response_a", "response_b")
SAID = ("p_a", "verdict", "score_a", "score_b")
OPTIONAL = (
    "order", "sample_index", "gold", "category", "criterion", "critique", "raw", "tokens_in",
    "tokens_out", "seconds", "licence",
)  # fmt: skip
KNOWN = {*NEEDED, *SAID, *OPTIONAL}
NO_MATTER = frozenset({"category", "licence"})
"""What two records of one opinion may differ in."""
VERDICTS = {"a": 1.0, "b": 0.0, "tie": 0.5}
ORDERS = ("ab", "ba")


def read_opinion(row: Source) -> ImportedRow:
    """Turn a record into an `ImportedRow` with one comparison; see the module for the fields.

    Raises:
        ValueError: the record cannot be used; the message names the key and is the same for every
            record with that fault.
    """
    if not KNOWN.issuperset(row):
        key = next(key for key in row if key not in KNOWN)
        raise ValueError(f"unknown key {key[:40]!r}{_suggest(key, sorted(KNOWN))}")
    annotator, kind = get_text(row, "annotator"), get_text(row, "kind")
    if not annotator.strip():
        raise ValueError("annotator is empty")
    if kind not in JUDGMENT_KINDS:
        raise ValueError(
            f"kind is none of {', '.join(JUDGMENT_KINDS)}{_suggest(kind, JUDGMENT_KINDS)}"
        )
    if row.get("prompt") is None:
        raise ValueError("prompt is missing")
    prompt = row["prompt"]
    messages = read_prompt(prompt) if isinstance(prompt, str) else read_messages(row, "prompt")
    responses = (get_text(row, "response_a"), get_text(row, "response_b"))
    raw, order, gold = find_text(row, "raw"), find_text(row, "order"), row.get("gold")
    if order is not None and order not in ORDERS:
        raise ValueError("order is neither ab nor ba")
    if gold is not None and not isinstance(gold, bool):
        raise ValueError("gold is neither true nor false")
    scores = _read_scores(row)
    said = _read_preferences(row, scores)
    if not said:
        if raw is None or not any(key in row for key in SAID):
            raise ValueError("no p_a, no verdict and no score_a with score_b")
        if gold:
            raise ValueError("gold is true and there is no p_a, verdict or score")
    comparison = Comparison(
        0,
        1,
        annotator,
        kind,
        next(iter(said.values()), None),
        tie=any(form != "p_a" and p == 0.5 for form, p in said.items()),
        valid=bool(said),
        reason=None if said else "no verdict",
        raw=raw,
        criterion=find_name(row, "criterion"),
        order=order,
        sample_index=find_count(row, "sample_index") or 0,
        critique=find_text(row, "critique"),
        gold=gold,
        scores=scores,
        tokens_in=find_count(row, "tokens_in"),
        tokens_out=find_count(row, "tokens_out"),
        seconds=_find_seconds(row),
    )
    find_text(row, "category")  # `make_row` passes over one that is no text
    return make_row(row, messages, responses, (comparison,), licence=find_name(row, "licence"))


def _read_preferences(row: Source, scores: tuple[float, float] | None) -> dict[str, float]:
    """What each of the forms that a record has says: the probability that response_a is better.

    Raises:
        ValueError: one of them is no such value, or two disagree on which is better.
    """
    said: dict[str, float] = {}
    p_a, verdict = find_number(row, "p_a"), find_text(row, "verdict")
    if p_a is not None:
        if not 0 <= p_a <= 1:
            raise ValueError("p_a is outside [0, 1]")
        said["p_a"] = p_a
    if verdict is not None:
        if verdict.strip().lower() not in VERDICTS:
            raise ValueError("verdict is none of A, B, tie")
        said["verdict"] = VERDICTS[verdict.strip().lower()]
    if scores is not None:
        said["score_a and score_b"] = (1 + (scores[0] > scores[1]) - (scores[0] < scores[1])) / 2
    sides = {form: (p > 0.5) - (p < 0.5) for form, p in said.items()}
    first = next(iter(sides), None)
    for form, side in sides.items():
        if first is not None and side != sides[first]:
            raise ValueError(f"{first} disagrees with {form}")
    return said


def _read_scores(row: Source) -> tuple[float, float] | None:
    score_a, score_b = find_number(row, "score_a"), find_number(row, "score_b")
    if score_a is None and score_b is None:
        return None
    if score_a is None or score_b is None:
        raise ValueError(f"{'score_a' if score_a is None else 'score_b'} is missing")
    return score_a, score_b


def _find_seconds(row: Source) -> float | None:
    seconds = find_number(row, "seconds")
    if seconds is not None and seconds < 0:
        raise ValueError("seconds is less than 0")
    return seconds


def _suggest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word.strip().lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
