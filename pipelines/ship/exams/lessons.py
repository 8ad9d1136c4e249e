"""What the probes of an exam learn from, and what of its own a version is examined on: its train
side, the pool it came from before anything was done to it, and its held-out pairs and rollouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from annotators.gold import OF_POOL, select_gold
from annotators.votes import PAIR
from pipelines.label.loop.evidence import LABELS, settle_label
from pipelines.label.people.counting import keep_counted
from pipelines.label.policies import name_voice
from pipelines.lake.catalogue import Lake
from pipelines.ship.covering import read_scopes
from pipelines.ship.exams.best_of import Store
from pipelines.ship.exams.intervals import Array
from pipelines.ship.exams.items import Item
from pipelines.ship.exams.probing import LEAST_TAUGHT, Lessons, Reward, make_lessons
from pipelines.ship.export import SPLIT_OF
from pipelines.ship.publish import Published, read_pairs

SAID_SQL = """
WITH read AS (
    SELECT *, max(created_at) OVER (PARTITION BY source, file_hash, revision) AS edition
    FROM imports WHERE list_contains(?, source) AND judgment_ids IS NOT NULL
), said AS (
    SELECT source, file_hash, revision, row, edition, unnest(judgment_ids) AS judgment_id FROM read
)
SELECT response_a, response_b, annotator, kind, gold, p_a, "order", sample_index, a.content AS a,
       b.content AS b
FROM said JOIN judgments USING (judgment_id) JOIN splits USING (prompt_id)
JOIN responses AS a ON a.response_id = response_a
JOIN responses AS b ON b.response_id = response_b
WHERE kind IN ('import', 'human') AND valid AND p_a IS NOT NULL AND criterion IS NULL
  AND split IN ('train', 'gold-teach')
QUALIFY dense_rank() OVER (
    PARTITION BY annotator, response_a, response_b ORDER BY edition DESC, file_hash, revision) = 1
ORDER BY response_a, response_b, annotator, file_hash, row, judgment_id
"""

VOUCHED_SQL = """
SELECT judgments.* FROM judgments SEMI JOIN pairs USING (response_a, response_b)
WHERE if(starts_with(annotator, 'import:'),
         gold AND list_contains(?, split_part(annotator, '/', 1)),
         gold OR kind = 'human')
ORDER BY judgment_id
"""

VERIFIED_SQL = """
SELECT prompt_id, response_id, any_value(messages) AS messages, any_value(content) AS content,
       avg(score) AS gold
FROM responses JOIN (SELECT prompt_id, messages FROM prompts) USING (prompt_id) JOIN (
    SELECT prompt_id, response_a AS response_id, score FROM judgments
    WHERE kind = 'verifier' AND response_b IS NULL AND criterion IS NULL AND score IS NOT NULL
) USING (prompt_id, response_id)
SEMI JOIN asked USING (prompt_id)
GROUP BY prompt_id, response_id ORDER BY prompt_id, response_id
"""


def take_version(version: Published, rows: pl.DataFrame, seed: int) -> Lessons:
    """The train side of a version.

    Args:
        rows: what `pipelines.ship.export.make_rows` gives.
    """
    return make_lessons(f"{version.name}@{version.version}", frame_train(rows), seed)


def frame_train(rows: pl.DataFrame) -> pl.DataFrame:
    """key, chosen, rejected (the last texts) and source of the rows of the train side."""
    train = [split for split, side in SPLIT_OF.items() if side == "train"]
    last = pl.element().struct.field("content")
    return rows.filter(pl.col("split").is_in(train)).select(
        "source",
        key="pair_id",
        chosen=pl.col("chosen").list.eval(last).list.last(),
        rejected=pl.col("rejected").list.eval(last).list.last(),
    )


def take_pool(lake: Lake, version: Published, seed: int) -> Lessons | None:
    """Every pair of the pools that a version was made of, with the label that it came with, as the
    lake stood then: duplicates, broken answers and all, but for held-out prompts, their duplicates,
    and prompts that never got a split. Of several editions of a pool the newest that speaks of a
    pair counts. None where no labels were imported."""
    _, recipe = read_scopes(lake, version.name, version.version)
    names = [source["name"] for source in (recipe.get("prompts") or {}).get("imports") or []]
    if not names:
        return None
    pools = [f"import:{name}" for name in names]
    with lake.look_back(version.snapshot) as past:
        if "judgment_ids" not in past.query("FROM imports LIMIT 0").columns:  # before schema 4
            return None
        said = past.query(SAID_SQL, [names])
        pairs = said.select(PAIR).unique()
        vouched = keep_counted(past.query(VOUCHED_SQL, [pools], pairs=pairs))
    others = len(select_gold(vouched)) > 0
    found = make_lessons("uncurated pool", take_labels(said, others), seed)
    return found if len(found) >= LEAST_TAUGHT else None


def take_labels(said: pl.DataFrame, others: bool) -> pl.DataFrame:
    """key, chosen, rejected of what pairs came labelled with, see `pipelines.label.loop.evidence`:
    neither gold nor what machines said of them. A pair that one annotator has twice is there twice;
    what several say of it is one row, as most of them have it.

    Args:
        said: response_a, response_b, annotator, kind, gold, p_a, order, sample_index, a, b (texts).
        others: whether the gold is somebody else's than the people's of the pools. Where it is
            theirs, they give the label only of a pair that has no other.
    """
    by_people = pl.col("voice") == OF_POOL
    labels = said.with_columns(voice=name_voice()).filter(pl.col("voice").is_in(LABELS))
    if not others:
        labels = labels.filter(~by_people | by_people.all().over(PAIR))
    who = ("annotator", "order", "sample_index", *PAIR)
    first = pl.col("came") > 0.5
    return (
        labels.with_columns(copy=pl.int_range(pl.len()).over(who))
        .group_by(*PAIR, "copy")
        .agg(pl.col("a", "b").first(), came=settle_label())
        .filter(pl.col("came") != 0.5, pl.col("a") != pl.col("b"))
        .select(
            key=pl.concat_str(*PAIR, "copy", separator=":"),
            chosen=pl.when(first).then("a").otherwise("b"),
            rejected=pl.when(first).then("b").otherwise("a"),
        )
        .sort("key")
    )


def take_some(pool: Lessons | None, own: Lessons) -> Lessons | None:
    """A random subset of a pool, as many pairs as those that stand for the version; None where the
    pool has no more pairs than the version."""
    if pool is None or pool.of <= own.of:
        return None
    size = len(own)
    return Lessons("random subset", pool.chosen[:size], pool.rejected[:size], pool.of)


def make_items(rows: pl.DataFrame) -> list[Item]:
    """Held-out pairs as items.

    Args:
        rows: rows of `pipelines.ship.export.make_rows`.
    """
    return [
        Item(
            key=row["pair_id"],
            prompt=tuple(row["prompt"]),
            responses=(row["chosen"][-1]["content"], row["rejected"][-1]["content"]),
            right=(True, False),
            category=row["category"],
            subset=row["source"],
        )
        for row in rows.iter_rows(named=True)
    ]


def find_rollouts(lake: Lake, version: Published) -> pl.DataFrame:
    """The responses to the version's held-out prompts that a verifier scored, as the lake stood
    when it was published: prompt_id, response_id, messages, content, gold."""
    held = [split for split, side in SPLIT_OF.items() if side == "test"]
    pairs = read_pairs(lake, version).filter(pl.col("split").is_in(held))
    with lake.look_back(version.snapshot) as past:
        return past.query(VERIFIED_SQL, asked=pairs.select("prompt_id").unique())


def store_rollouts(rollouts: pl.DataFrame, reward: Reward) -> list[Store]:
    """The scored store of verified rollouts."""
    items = []
    golds: list[Array] = []
    for (prompt,), group in rollouts.group_by("prompt_id", maintain_order=True):
        texts = tuple(group["content"])
        messages = tuple(group["messages"][0])
        items.append(Item(str(prompt), messages, texts, (False,) * len(texts), "", ""))
        golds.append(group["gold"].to_numpy().astype(float))
    return _pack(items, golds, reward(items))


def store_items(items: Sequence[Item], rewards: Sequence[Array]) -> list[Store]:
    """The scored store of a set: right is 1, wrong is 0."""
    return _pack(items, [np.asarray(item.right, dtype=float) for item in items], rewards)


def _pack(items: Sequence[Item], golds: Sequence[Array], rewards: Sequence[Array]) -> list[Store]:
    return [
        Store(
            item.prompt_key, values, gold, np.asarray(list(map(len, item.responses)), dtype=float)
        )
        for item, gold, values in zip(items, golds, rewards, strict=True)
    ]
