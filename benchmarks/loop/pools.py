"""Real labelled pairs to plant noise in: alpaca_eval with lengths balanced, and hh.

alpaca_eval as it stands says "longer" (the longer response wins 85 % of it), and hides everything
else. Here as many pairs are taken where the shorter one wins, band by band of how unequal the
lengths are, so that length says nothing. Sides are hashed, so that they say nothing either. Only
the pairs of one of its judges are taken: the other two compare with another model, and contradict.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.loop.surface import measure_surface, scale_surface
from engines.embedder import embed_texts
from pipelines.clean.dedup import group_near
from pipelines.clean.splits import CLUSTER_SIMILARITY
from schemas.ids import hash_text, make_seed

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
BANDS = (0.1, 0.25, 0.5, 0.8, 1.2, 1.8, 3.0)  # of |log of the ratio of lengths|
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
SURE = 0.4  # how far from a draw (1.5) the judge of alpaca_eval must be
CHUNK = 512
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True, eq=False)
class Pool:
    """Pairs with the truth that the experiment takes for granted.

    `apart` (pairs, d) is the vector of the first response less that of the second (of meaning, and
    of what `benchmarks.loop.surface` counts), `first` and `second` the characters of each, `truth`
    whether the first is better.
    """

    name: str
    prompts: NDArray[np.str_]
    categories: NDArray[np.str_]
    apart: Array
    first: Array
    second: Array
    truth: Bools

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, places: NDArray[np.int64] | Bools) -> Pool:
        """Some of the pairs, or some of them more than once."""
        return Pool(self.name, self.prompts[places], self.categories[places], self.apart[places],
                    self.first[places], self.second[places], self.truth[places])  # fmt: skip

    @property
    def longer(self) -> Array:
        """1 where the first response is the longer one, -1 where the second is, 0 neither."""
        return np.sign(self.first - self.second)


def read_alpaca(folder: Path, pairs: int) -> pl.DataFrame:
    """prompt, category, better, worse: about `pairs` pairs of alpaca_eval of balanced lengths.

    Which ones is decided by hash. As many where the longer wins as where the shorter does in each
    of `BANDS`; equal lengths are left out.
    """
    texts = pl.read_parquet(folder / "alpaca_eval_outputs.parquet").select(
        "instruction", "generator", "output", "subset"
    ).unique(["instruction", "generator"], keep="first", maintain_order=True)  # fmt: skip
    said = (
        pl.read_parquet(folder / "alpaca_eval_preferences.parquet")
        .filter((pl.col("annotator") == JUDGE) & pl.col("preference").is_between(1, 2))
        .group_by("instruction", "generator_1", "generator_2")
        .agg(pl.col("preference").mean())
        .filter((pl.col("preference") - 1.5).abs() >= SURE)
    )
    for side in ("1", "2"):
        named = texts.select("instruction", pl.col("generator").alias(f"generator_{side}"),
                             pl.col("output").alias(f"text_{side}"))  # fmt: skip
        said = said.join(named, on=["instruction", f"generator_{side}"])
    second = pl.col("preference") > 1.5
    rows = said.select(
        "instruction",
        key=pl.concat_str("instruction", "generator_1", "generator_2", separator="|"),
        better=pl.when(second).then("text_2").otherwise("text_1"),
        worse=pl.when(second).then("text_1").otherwise("text_2"),
    ).filter(pl.col("better").is_not_null() & pl.col("worse").is_not_null())
    better, worse = (
        pl.col(name).str.len_chars().cast(pl.Float64) + 1 for name in ("better", "worse")
    )
    ratio = (better / worse).log()
    order = rows["key"].map_elements(lambda key: make_seed("alpaca", key), return_dtype=pl.UInt64)
    rows = rows.with_columns(
        band=ratio.abs().cut(list(BANDS)).cast(pl.String), long=ratio.sign(), order=order
    ).filter(pl.col("long") != 0).sort("order")  # fmt: skip
    rank = pl.int_range(pl.len()).over("band", "long")
    fewest = rows.group_by("band", "long").len().group_by("band").agg(pl.col("len").min())
    rows = (
        rows.with_columns(rank=rank).join(fewest, on="band").filter(pl.col("rank") < pl.col("len"))
    )
    share = min(1.0, pairs / max(len(rows), 1))
    rows = rows.filter(pl.col("rank") < pl.col("len") * share).sort("order")
    kinds = texts.unique("instruction").select("instruction", category="subset")
    return rows.join(kinds, on="instruction", how="left", maintain_order="left").select(
        "category", "better", "worse", prompt="instruction"
    )


def read_hh(folder: Path) -> pl.DataFrame:
    """prompt, category, better, worse: the two test files of hh, where the contexts are one and
    both responses say something.

    `prompt` is no text that was answered but what pairs are split by: the first human turn of the
    conversation, and one for all that are near-duplicates of each other (in both files: hundreds
    are, and a conversation comes with several lengths), as Assay groups prompts before it splits.
    """
    rows = []
    for category, name in (("helpful", "hh_helpful_test"), ("harmless", "hh_harmless_base_test")):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                before, _, better = row["chosen"].rpartition(ASSISTANT)
                other, _, worse = row["rejected"].rpartition(ASSISTANT)
                better, worse = better.strip(), worse.strip()
                if before == other and better and worse and better != worse:
                    first = before.removeprefix(HUMAN).split(ASSISTANT)[0].strip()
                    rows.append((first, category, better, worse))
    turns = sorted({row[0] for row in rows})
    ids = [f"{place:05d}" for place in range(len(turns))]
    near = group_near(pl.DataFrame({"prompt_id": ids, "text": turns}), CLUSTER_SIMILARITY)
    one = {turn: turns[int(near[key][0])] if key in near else turn
           for key, turn in zip(ids, turns, strict=True)}  # fmt: skip
    return pl.DataFrame([(one[first], *rest) for first, *rest in rows],
                        schema=["prompt", "category", "better", "worse"], orient="row")  # fmt: skip


def make_pool(name: str, rows: pl.DataFrame, cache: Path) -> Pool:
    """Embed the responses (once: they are kept in `cache`) and lay the sides by hash."""
    texts = [*rows["better"], *rows["worse"]]
    vectors, surface = embed_once(texts, cache), measure_surface(texts)
    n = len(rows)
    apart = np.hstack([vectors[:n] - vectors[n:], scale_surface(surface[:n] - surface[n:])])
    sides = [make_seed("side", p, b, w) % 2 == 0 for p, b, w in
             rows.select("prompt", "better", "worse").iter_rows()]  # fmt: skip
    truth = np.array(sides, dtype=bool)
    lengths = [rows[side].str.len_chars().to_numpy().astype(float) for side in ("better", "worse")]
    return Pool(
        name=name,
        prompts=rows["prompt"].to_numpy().astype(str),
        categories=rows["category"].fill_null("none").to_numpy().astype(str),
        apart=np.where(truth, 1.0, -1.0)[:, None] * apart,
        first=np.where(truth, *lengths),
        second=np.where(truth, *lengths[::-1]),
        truth=truth,
    )


def part_tastes(pool: Pool, category: str) -> Pool:
    """The pool with every vector told twice, the second time turned round but in one category, so
    that a probe can learn what is liked everywhere and what only there.

    The two files of hh reward opposite things (one of them refusals): on the seeds 0 to 4 one probe
    for both is right on .54 of the pairs with clean labels, and with this on .63.
    """
    sign = np.where(pool.categories == category, 1.0, -1.0)[:, None]
    return replace(pool, apart=np.hstack([pool.apart, sign * pool.apart]))


def embed_once(texts: Sequence[str], cache: Path) -> NDArray[np.float32]:
    """Unit vectors (texts, dimensions), float32; what is new is added to the file `cache`."""
    keys = [hash_text(text) for text in texts]
    known: dict[str, NDArray[np.float32]] = {}
    if cache.exists():
        with np.load(cache) as held:
            known = dict(zip(held["keys"].tolist(), held["vectors"], strict=True))
    first = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    cache.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(first), CHUNK):
        some = list(first)[start : start + CHUNK]
        known.update(zip(some, embed_texts([first[key] for key in some]), strict=True))
        print(f"embedded {start + len(some):,} of {len(first):,}", flush=True)
        new = cache.with_suffix(".new.npz")
        np.savez(new, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
        new.replace(cache)
    return np.stack([known[key] for key in keys])


def split_prompts(pool: Pool, seed: int, held_out: float = 0.3) -> tuple[Pool, Pool]:
    """The pairs of most prompts, and those of the rest, to be examined on."""
    names = np.unique(pool.prompts)
    generator = np.random.default_rng(make_seed("loop split", seed))
    out = generator.permutation(names)[: round(held_out * len(names))]
    mine = np.isin(pool.prompts, out)
    return pool.take(~mine), pool.take(mine)
