"""Which of a ranking judge's conclusions count, what they cost, and the cycles among them.

A conclusion is all that the judge said of one group of responses. When the group changes (a
response more, or one that was cleaned away) it concludes anew, and what it said of a pair before
may be withdrawn by saying nothing: so of one prompt only one conclusion of it may count.

All functions take rows of `judgments` and leave those of other annotators as they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import polars as pl

from annotators.ranking.judge import COSTS

RANKING = pl.col("annotator").str.starts_with("ranking:")
GROUP = pl.col("detail").str.json_path_match("$.group")
ALL_CYCLES = pl.col("detail").str.json_path_match("$.cycles")  # null where a call is waited for
FIRST_CYCLE = pl.col("detail").str.json_path_match("$.cycles[0]")
CYCLES = {"annotator": pl.String, "prompt_id": pl.String, "cycle": pl.List(pl.String)}
GROUPS = {"annotator": pl.String, "groups": pl.Int64, "waiting": pl.Int64, "cyclic": pl.Int64}


def keep_groups(judgments: pl.DataFrame, groups: Collection[str]) -> pl.DataFrame:
    """Of rankings only what was concluded of `groups` (`annotators.talk.Item.target` of each)."""
    ranked, others = _part(judgments)
    kept = ranked.filter(GROUP.is_in(list(groups)))
    return pl.concat([others, kept])


def keep_newest(judgments: pl.DataFrame) -> pl.DataFrame:
    """Of rankings only the newest conclusion of each annotator on each prompt, by `created_at`."""
    ranked, others = _part(judgments)
    ranked = ranked.with_columns(group=GROUP)
    newest = (
        ranked.group_by("annotator", "prompt_id", "group")
        .agg(pl.col("created_at").max())
        .sort("created_at", "group")
        .unique(["annotator", "prompt_id"], keep="last", maintain_order=True)
    )
    who = ["annotator", "prompt_id", "group"]
    kept = ranked.join(newest, on=who, how="semi", nulls_equal=True).drop("group")
    return pl.concat([others, kept])


def count_costs(judgments: pl.DataFrame) -> pl.DataFrame:
    """Rankings with the cost of their comparisons in tokens_in, tokens_out and seconds of one row
    each; in `judgments` it stands in the rows of the comparisons, which are another annotator's."""
    ranked, others = _part(judgments)
    costs = [
        pl.coalesce(
            pl.col("detail").str.json_path_match(f"$.cost.{name}").cast(judgments.schema[name]),
            name,
        ).alias(name)
        for name in COSTS
    ]
    return pl.concat([others, ranked.with_columns(costs)])


def list_cycles(judgments: pl.DataFrame) -> pl.DataFrame:
    """annotator, prompt_id, cycle: a row for each preference cycle, its response ids, of which
    each beats the next and the last the first."""
    held = _list_groups(judgments).filter(FIRST_CYCLE.is_not_null())
    rows = [
        (annotator, prompt_id, cycle)
        for annotator, prompt_id, detail in held.iter_rows()
        for cycle in json.loads(detail)["cycles"]
    ]
    return pl.DataFrame(rows, schema=CYCLES, orient="row")


def count_groups(judgments: pl.DataFrame) -> pl.DataFrame:
    """annotator, groups, waiting (for a call that failed), cyclic (with a preference cycle): a row
    for each ranking annotator, by name."""
    cyclic = FIRST_CYCLE.is_not_null().sum()
    return (
        _list_groups(judgments)
        .group_by("annotator")
        .agg(groups=pl.len(), waiting=ALL_CYCLES.is_null().sum(), cyclic=cyclic)
        .select(pl.col(name).cast(dtype) for name, dtype in GROUPS.items())
        .sort("annotator")
    )


def _part(judgments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return judgments.filter(RANKING), judgments.filter(~RANKING)


def _list_groups(judgments: pl.DataFrame) -> pl.DataFrame:
    """annotator, prompt_id and detail of a response of each group; where a call failed and was made
    again, of what was concluded then."""
    rows = judgments.filter(RANKING & pl.col("response_b").is_null())
    return (
        rows.sort("annotator", "prompt_id", ALL_CYCLES.is_null(), "response_a")
        .unique(["annotator", "prompt_id"], keep="first", maintain_order=True)
        .select("annotator", "prompt_id", "detail")
    )
