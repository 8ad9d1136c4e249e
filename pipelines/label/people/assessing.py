"""What a batch shows of the people in it, and what follows: who is set aside, which items go back
to the queue, and which need a third opinion.

All of it follows from the lake and is written once, so it is safe to do after every pull.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from annotators.people.standing import measure_standing
from annotators.votes import call_label
from pipelines.label.people.golds import read_truth
from pipelines.label.people.markings import compare_marks, find_strays
from pipelines.label.people.planning import name_people
from pipelines.label.people.resolving import find_answers, find_below
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.targets import choose_left
from pipelines.label.reliability import clean_numbers
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from schemas.ids import make_id
from schemas.recipe import ReviewSpec

STAGE = "review_assess"
Row = dict[str, Any]

DECIDING = ("correct", "spans", "first_wrong_step")  # the criteria that are a question's answer


def assess_batches(
    lake: Lake,
    run: Run,
    spec: ReviewSpec,
    batches: Sequence[str] | None = None,
    *,
    releasing: bool = False,
) -> dict[str, int]:
    """Measure everybody in the batches (all of them, where none are named), and queue what follows.

    Who stays below `spec.min_gold_accuracy` on hidden gold (`annotators.people.standing`) is set
    aside in that batch from then on, and `run.tell` says so. An item that lacks answers that count
    is queued for another round, where nobody at the desk may still give them; one on which no
    majority agrees, for adjudication, when all that were wanted are there (or, in a release, as
    many as `spec.min_answers`). Released items are left as they are.

    Returns:
        below: people newly set aside; requeued and adjudications: reviews queued.
    """
    with lake.lease(STAGE, run):
        answers = find_batched(lake, batches)
        below = _record_standings(lake, run, spec, list_annotations(answers))
        if below:
            answers = find_batched(lake, batches)
        enough = spec.min_answers if releasing else None
        rounds, thirds = _find_missing(lake, answers, batches, name_people(spec), enough)
        if rounds:
            run.tell(f"{len(rounds)} items lack an answer that counts and go back to the queue")
        if rounds or thirds:
            lake.append({"reviews": [*rounds, *thirds]}, run=run, stage=STAGE)
    return {"below": len(below), "requeued": len(rounds), "adjudications": len(thirds)}


def find_batched(lake: Lake, batches: Sequence[str] | None = None) -> pl.DataFrame:
    """`resolving.find_answers` of batches alone."""
    return find_answers(lake, batches).filter(pl.col("batch").is_not_null())


def list_annotations(answers: pl.DataFrame) -> pl.DataFrame:
    """Answers as `annotators.people.annotations` takes them (with `labels=None`), with `set_aside`
    and what they answer.

    One row an answer; those of a ranking for each two of its responses. The label of a preference
    and a ranking is `a`, `b` or `tie`; of correctness `a` (correct) or `b`; of the first wrong step
    its index, -1 where all are right; of spans `none`, `errors`, or `elsewhere`: on hidden gold, of
    errors that are not those marked there (`annotators.people.spans.match_spans`).
    """
    overall = pl.col("criterion").is_null() | pl.col("criterion").is_in(DECIDING)
    said = answers.filter(overall & (pl.col("set_aside") != "skipped").fill_null(True))
    strength = pl.col("detail").str.json_path_match("$.strength").cast(pl.Int64)
    question = pl.col("question").fill_null("preference")
    value = pl.coalesce("p_a", "score")
    label = (
        pl.when(question == "first_wrong_step")
        .then(value.cast(pl.Int64).cast(pl.String))
        .when((question == "spans") & (value == 0))
        .then(pl.lit("none"))
        .when((question == "spans") & pl.col("annotation").is_in(find_strays(answers)))
        .then(pl.lit("elsewhere"))
        .when((question == "spans") & (value > 0))
        .then(pl.lit("errors"))
        .otherwise(call_label(value))
    )
    return said.select(
        item=pl.when(question == "ranking")
        .then(pl.concat_str("response_a", pl.lit("|"), "response_b", ignore_nulls=True))
        .when(question == "preference")
        .then("pair_id")
        .otherwise(pl.concat_str(question, pl.lit(":"), "pair_id")),
        annotator="annotator",
        batch="batch",
        label=label,
        strength=pl.when((strength == 0) == (label == "tie")).then(strength),
        seconds="seconds",
        updated_at=pl.col("updated_at").str.to_datetime(time_unit="us", time_zone="UTC"),
        role="role",
        review_id="review_id",
        pair_id="pair_id",
        set_aside="set_aside",
        question=question,
        annotation="annotation",
        why="why",
    )


def list_truths(annotations: pl.DataFrame) -> pl.DataFrame:
    """item, label: what was known of the hidden gold of a batch when it was sent."""
    truth = pl.col("why").str.json_path_match("$.truth").alias("truth")
    shown = annotations.filter(pl.col("role") == "gold").select("item", "question", truth)
    known = [
        (item, read_truth(truth, item, question))
        for item, question, truth in shown.drop_nulls().unique("item").sort("item").iter_rows()
    ]
    return pl.DataFrame(
        known, schema={"item": pl.String, "label": pl.String}, orient="row"
    ).drop_nulls()


def judge_items(answers: pl.DataFrame) -> pl.DataFrame:
    """What people together say of each item of work: batch, pair_id, and of each of its targets
    (response_a, response_b, criterion) the value (p_a, or a score), share, n and voters.

    More than half of those whose answer counts must say the same (of spans, mark the same
    characters: `pipelines.label.people.markings`); value is null where they do not,
    or where they say that it cannot be decided. `by` is `adjudication` where there is one that
    counts, which then decides alone.
    """
    main = pl.col("criterion").is_null() | pl.col("criterion").is_in(DECIDING)
    standing = answers.filter(pl.col("set_aside").is_null())
    marked = compare_marks(standing).rename({"value": "stretches"})
    is_marked = pl.col("criterion") == "spans"
    counted = (
        standing.filter(main)
        .join(marked, on="annotation", how="left", maintain_order="left")
        .with_columns(value=pl.when(is_marked).then("stretches").otherwise(
            pl.coalesce("p_a", "score")))
    )  # fmt: skip
    what = ["batch", "pair_id", "prompt_id", "question", "response_a", "response_b", "criterion"]
    sides = []
    for role in ("work", "adjudication"):
        part = counted.filter(pl.col("role") == role)
        votes = part.group_by(*what, "value").agg(votes=pl.len(), people="annotator")
        led = (
            votes.sort("votes", "value", descending=[True, False], nulls_last=True)
            .group_by(what, maintain_order=True)
            .agg(
                value=pl.col("value").first(),
                votes=pl.col("votes").first(),
                n=pl.col("votes").sum(),
                voters=pl.col("people").explode().unique().sort(),
            )
        )
        mean = part.group_by(what).agg(
            mean=pl.col("p_a").mean(),
            strength=pl.col("detail").str.json_path_match("$.strength").cast(pl.Float64).mean(),
        )
        agreed = pl.col("votes") * 2 > pl.col("n")
        sides.append(
            led.join(mean, on=what, nulls_equal=True).with_columns(
                by=pl.lit(role),
                agreed=agreed,
                share=pl.col("votes") / pl.col("n"),
                value=pl.when(agreed).then("value"),
            )
        )
    both = pl.concat(sides)
    is_last = pl.col("by") == pl.col("by").sort_by(pl.col("by") == "adjudication").last().over(what)
    return both.filter(is_last).sort(what)


def find_items(
    lake: Lake,
    answers: pl.DataFrame,
    batches: Sequence[str] | None,
    people: Collection[str] = (),
) -> pl.DataFrame:
    """The items of work and adjudications of batches, one row each: the columns of the review that
    they began with, wanted (answers), counted, open (answers that may still come) and rounds.

    Args:
        people: who has projects of their own now; nothing more is awaited of anybody else who had.
    """
    reviews = find_reviews(lake, "batch_id IS NOT NULL AND role <> 'gold'")
    if batches is not None:
        reviews = reviews.filter(pl.col("batch_id").is_in(list(batches)))
    one = answers.unique("annotation")
    # a skipped task stays open to others
    taken = one.filter((pl.col("set_aside") != "skipped").fill_null(True))
    given = taken.group_by("review_id").agg(given=pl.col("annotator").n_unique())
    counted = (
        one.filter(pl.col("set_aside").is_null())
        .group_by(batch_id="batch", pair_id="pair_id", role="role")
        .agg(counted=pl.len())
    )
    item = ["batch_id", "pair_id", "role"]
    # an item's own row stands for its people's, where each has a project of his own
    has_children = pl.col("assignee").is_not_null().any().over(*item, "round")
    shown = (pl.col("assignee").is_not_null() | ~has_children) & (pl.col("status") != "gone")
    if people:
        shown &= pl.col("assignee").is_in(list(people)).fill_null(True)
    places = reviews.join(given, on="review_id", how="left").with_columns(
        free=pl.when(shown).then((pl.col("overlap") - pl.col("given").fill_null(0)).clip(0))
    )
    totals = places.group_by(item).agg(open=pl.col("free").sum(), rounds=pl.col("round").max())
    first = reviews.filter(pl.col("assignee").is_null() & (pl.col("round") == 0))
    return (
        first.join(totals, on=item)
        .join(counted, on=item, how="left")
        .with_columns(pl.col("counted").fill_null(0), wanted=pl.col("overlap"))
        .sort(item)
    )


def _record_standings(
    lake: Lake, run: Run, spec: ReviewSpec, annotations: pl.DataFrame
) -> set[tuple[str, str]]:
    """Write down how people stand where that has changed; gives who is newly set aside, as (batch,
    person)."""
    taken = annotations.filter(
        (pl.col("role") != "adjudication")
        & (pl.col("set_aside").is_null() | (pl.col("set_aside") == "below"))
    )
    if taken.is_empty():
        return set()
    standing = pl.concat(
        [
            measure_standing(rows, list_truths(rows), bar=spec.min_gold_accuracy, labels=None)
            for rows in taken.partition_by("batch", maintain_order=True)
        ]
    ).sort("batch", "annotator")
    stored: dict[tuple[str, str], list[str]] = {}
    for batch, person, card in lake.query(
        "SELECT batch_id, person, card FROM standings ORDER BY created_at"
    ).iter_rows():
        stored.setdefault((batch, person), []).append(card)
    aside = set(find_below(lake).iter_rows())
    rows, new = [], set()
    for row in standing.iter_rows(named=True):
        who = (row["batch"], row["annotator"])
        if row["below"] and who not in aside:
            new.add(who)
            run.tell(f"{row['annotator']} is set aside in batch {row['batch']}: {row['reason']}")
        card = json.dumps(clean_numbers(row), sort_keys=True)
        cards = stored.get(who, [])
        if not cards or cards[-1] != card:
            rows.append(
                {
                    "batch_id": row["batch"],
                    "person": row["annotator"],
                    "measured": make_id("standing", len(cards), card),
                    "n": row["n"],
                    "gold_n": row["n_gold"],
                    "gold_accuracy": row["accuracy"],
                    "below": bool(row["below"]) or who in aside,
                    "card": card,
                }
            )
    if rows:
        lake.append({"standings": rows}, run=run, stage=STAGE)
    return new


def _find_missing(
    lake: Lake,
    answers: pl.DataFrame,
    batches: Sequence[str] | None,
    people: Collection[str],
    enough: int | None,
) -> tuple[list[Row], list[Row]]:
    """The reviews to queue: further rounds of items that lack answers, and adjudications."""
    items = find_items(lake, answers, batches, people)
    released = lake.query("SELECT DISTINCT batch_id, pair_id FROM releases")
    items = items.join(released, on=["batch_id", "pair_id"], how="anti")
    short = items.with_columns(lacks=pl.col("wanted") - pl.col("counted") - pl.col("open"))
    rounds = [
        _queue_again(row, row["role"], row["rounds"] + 1, row["lacks"])
        for row in short.filter(pl.col("lacks") > 0).iter_rows(named=True)
    ]
    torn = (
        judge_items(answers)
        .filter(~pl.col("agreed") & (pl.col("by") == "work"))
        .select(batch_id="batch", pair_id="pair_id")
        .unique()
    )
    asked = items.filter(pl.col("role") == "adjudication").select("batch_id", "pair_id")
    needed = count_needed(enough)
    full = items.filter((pl.col("role") == "work") & (pl.col("counted") >= needed))
    thirds = [
        _queue_again(row, "adjudication", 0, 1)
        for row in full.join(torn, on=["batch_id", "pair_id"], how="semi")
        .join(asked, on=["batch_id", "pair_id"], how="anti")
        .sort("batch_id", "pair_id")
        .iter_rows(named=True)
    ]
    return rounds, thirds


def count_needed(enough: int | None) -> pl.Expr:
    """How many answers settle an item of `find_items`: those wanted, or `enough` of them."""
    wanted = pl.col("wanted")
    return wanted if enough is None else pl.min_horizontal(wanted, pl.lit(enough))


def _queue_again(item: Row, role: str, number: int, overlap: int) -> Row:
    review_id = make_id("review", item["pair_id"], item["question"], role, item["batch_id"], number)
    kept = ("pair_id", "prompt_id", "response_a", "response_b", "responses", "question",
            "batch_id", "gain", "why", "expected_seconds")  # fmt: skip
    return {
        **{name: item[name] for name in kept},
        "review_id": review_id,
        "status": "queued",
        "reason": "people_disagree" if role == "adjudication" else "answers_missing",
        "left": choose_left(review_id) if item["left"] else None,
        "role": role,
        "round": number,
        "overlap": overlap,
    }
