"""Hidden gold: what is known already, among that which people are asked.

What is known of a question, and when an answer to it is right:

    preference        gold of the pair (`annotators.gold`) that is recorded or released, nine to one
                      or surer, and that no other gold denies; the same side
    ranking           three to nine responses of a prompt that such pairs hold together; each of
                      those pairs by itself, and nothing of the others
    correctness       what every verifier of today and all gold on the response say; the same
    first_wrong_step  gold on the response, released by an earlier batch or recorded; the same step
    spans             the same gold; the same characters by half (`annotators.people.spans`), or
                      none where there are none

Nothing of prompts in test is hidden gold: who is believed must not follow from the exam's answers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import polars as pl

from annotators.gold import GOLD, select_gold
from annotators.people.spans import match_spans
from annotators.verifiers import VERIFIERS, VERSION_MARK
from annotators.votes import call_label
from pipelines.label.people.answers import CRITERIA
from pipelines.label.people.counting import PEOPLE
from pipelines.label.people.targets import FEWEST, MOST
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.teaching import leave_exam
from schemas.ids import make_id, make_pair_id, make_seed

SURE = 0.9  # of the likelier side: a truth that people are held to must be one
RIGHT, WRONG = 0.999, 0.001  # a verifier's score from which, and to which, it is sure
Row = dict[str, Any]

SHOWABLE = """
AND response_a IN (SELECT response_id FROM responses)
AND prompt_id IN (SELECT prompt_id FROM prompts)
"""
ON_PAIRS = f"""
SELECT * FROM judgments WHERE coalesce(gold, false) AND criterion IS NULL
AND response_b IN (SELECT response_id FROM responses) {SHOWABLE}
"""
ON_RESPONSES = f"""
SELECT * FROM judgments WHERE valid AND response_b IS NULL AND score IS NOT NULL AND (
    (coalesce(gold, false) AND criterion = ?)
    OR (? AND kind = 'verifier' AND starts_with(annotator, '{VERIFIERS}')
        AND ends_with(annotator, '{VERSION_MARK}') AND (score >= {RIGHT} OR score <= {WRONG}))
) {SHOWABLE}
"""


def find_known(lake: Lake, question: str) -> list[Row]:
    """What is known of a question: the columns of `reviews` that say what is asked (pair_id,
    prompt_id, response_a, response_b, responses), `truth` (see `read_truth`) and from_people (all
    of it was released, so that some people may remember it)."""
    if question == "preference":
        return _find_pairs(lake)
    if question == "ranking":
        return _find_groups(_find_pairs(lake))
    rows = lake.query(ON_RESPONSES, [CRITERIA[question], question == "correctness"])
    said = _take_counted(lake, rows).sort("response_a", "judgment_id")
    by_response: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in said.iter_rows(named=True):
        by_response[row["prompt_id"], row["response_a"]].append(row)
    found = []
    for (prompt_id, response), voices in by_response.items():
        truth = _agree([_read_said(row, question) for row in voices], question)
        if truth is not None:
            found.append(
                {
                    "pair_id": response,
                    "prompt_id": prompt_id,
                    "response_a": response,
                    "response_b": None,
                    "responses": None,
                    "truth": truth,
                    "from_people": all(row["annotator"].startswith(PEOPLE) for row in voices),
                }
            )
    return found


def choose_gold(lake: Lake, question: str, count: int, *, avoid: set[Any], seed: str) -> list[Row]:
    """`count` of what is known (fewer where the lake has fewer), as `find_known` has it: recorded
    before released, and those first that were shown least often.

    Args:
        avoid: `name_target` of what is asked anyway.
        seed: what the choice among equals follows from.
    """
    used = dict(
        lake.query(
            "SELECT pair_id, count(DISTINCT review_id) FROM reviews WHERE role = 'gold' "
            "AND coalesce(question, 'preference') = ? GROUP BY pair_id",
            [question],
        ).iter_rows()
    )
    rows = [row for row in find_known(lake, question) if name_target(row) not in avoid]
    rows.sort(
        key=lambda row: (
            row["from_people"],
            used.get(row["pair_id"], 0),
            make_seed(seed, row["pair_id"]),
        )
    )
    return rows[:count]


def name_target(row: Row) -> tuple[Any, ...]:
    """What a review, or what is known, is about."""
    return row["response_a"], row["response_b"], tuple(sorted(row["responses"] or ()))


def read_truth(truth: str, item: str, question: str) -> str | None:
    """The right label of an item, of what was written into a review's `why`; None where a ranking's
    gold does not speak of this pair of responses."""
    if question == "ranking":
        return json.loads(truth).get(item)  # type: ignore[no-any-return]
    if question == "spans":
        return "errors" if json.loads(truth) else "none"
    return truth


def _find_pairs(lake: Lake) -> list[Row]:
    gold = select_gold(_take_counted(lake, lake.query(ON_PAIRS))).filter(voice=GOLD)
    sides = (
        gold.group_by("prompt_id", "response_a", "response_b")
        .agg(
            p_low=pl.col("p_a").min(),
            p_high=pl.col("p_a").max(),
            from_people=pl.col("annotator").str.starts_with(PEOPLE).all(),
        )
        .filter((pl.col("p_low") >= SURE) | (pl.col("p_high") <= 1 - SURE))
        .with_columns(truth=call_label(pl.col("p_low")))
        .drop("p_low", "p_high")
        .sort("response_a", "response_b")
    )
    return [
        {**row, "responses": None,
         "pair_id": make_pair_id(row["prompt_id"], row["response_a"], row["response_b"])}
        for row in sides.iter_rows(named=True)
    ]  # fmt: skip


def _find_groups(pairs: list[Row]) -> list[Row]:
    by_prompt: dict[str, list[Row]] = defaultdict(list)
    for pair in pairs:
        by_prompt[pair["prompt_id"]].append(pair)
    found = []
    for prompt_id, members in sorted(by_prompt.items()):
        ids = sorted({pair[side] for pair in members for side in ("response_a", "response_b")})
        if FEWEST <= len(ids) <= MOST:
            found.append(
                {
                    "pair_id": make_id("group", prompt_id, ids),
                    "prompt_id": prompt_id,
                    "response_a": ids[0],
                    "response_b": None,
                    "responses": ids,
                    "truth": {f"{p['response_a']}|{p['response_b']}": p["truth"] for p in members},
                    "from_people": all(pair["from_people"] for pair in members),
                }
            )
    return found


def _read_said(row: Row, question: str) -> Any:
    """A judgment on a response as an answer to the question; None where it says too little."""
    if question == "correctness":
        return "a" if row["score"] >= RIGHT else "b" if row["score"] <= WRONG else None
    if question == "first_wrong_step":
        return f"{row['score']:.0f}"
    spans = json.loads(row["detail"] or "{}").get("spans")
    return [] if row["score"] == 0 else spans and [span[:2] for span in spans]


def _agree(said: list[Any], question: str) -> Any:
    """What all of them say; None where they differ, or one says too little."""
    first, *others = said
    if first is None or None in others:
        return None
    if question == "spans":
        return first if all(match_spans(first, other) for other in others) else None
    return first if all(other == first for other in others) else None


def _take_counted(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    return leave_exam(lake, drop_superseded(lake, rows, pools))
