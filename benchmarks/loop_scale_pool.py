"""A lake with a pool of any size, as the gold loop finds it: labels, judges, gold and vectors.

Each pair has a prompt of its own. Texts are made-up words (about 2.1 KB a pair), their vectors
random unit vectors of MiniLM's 384 dimensions, kept under the hashes of the texts; which response
is better follows a planted direction and luck. Labels come from four sources with four annotators
each and are wrong in a quarter of cases; three judges are right in three quarters, their errors
correlate by 0.3; one spoke on all pairs, one on nine tenths, one on four fifths. What the third
has not said yet is kept aside, for a jury that answers by the record. Rows go to the tables as
they are, without the checks that an import makes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.loop.noise import ask_judges
from benchmarks.ten_million import Writer
from engines.embedder import MINILM, name_embedder
from pipelines.lake.catalogue import Lake, open_lake
from schemas.ids import hash_text, make_pair_id, make_seed
from schemas.recipe import Recipe, parse_recipe
from schemas.tables import polars_schema

CHUNK = 50_000
DIMENSIONS = 384
TOPICS = 200
SOURCES = ("arena", "chats", "forum", "school")
CATEGORIES = ("chat", "code", "maths", "safety", "summary", "writing")
WRONG = (0.05, 0.15, 0.35, 0.45)  # of the labels of each source's four annotators
SPOKEN = (1.0, 0.9, 0.8)  # share of the pairs that each judge spoke on
ACCURACY, CORRELATION = 0.75, 0.3
GOLD = 5_000
TEST = 0.25
STEEP = 20.0  # log odds by the planted direction, for a difference of length one along it
CONTEXT = 500  # characters of the prompt's end that are embedded with a response
HELD = "held.parquet"


def make_recipe() -> Recipe:
    """Four pools, gold and recorded opinions; one iteration, machines only. The judge is never
    asked: what it would say is held (see `make_pool`)."""
    imports = [
        {"path": f"{name}.jsonl", "name": name, "layout": "judgments", "licence": "MIT"}
        for name in (*SOURCES, "gold", "opinions")
    ]
    return parse_recipe({
        "name": "scale", "prompts": {"imports": imports}, "loop": {"iterations": 1},
        "models": {"held": {"model": "held", "url": "http://127.0.0.1:9/v1"}},
        "judges": [{"name": "held", "model": "held"}],
        "label": {"policy": "gold_loop", "threshold": 0.75}, "split": {"test": TEST},
        "train": None,
    })  # fmt: skip


def make_pool(folder: Path, pairs: int, seed: int = 0) -> None:
    """Make the lake `folder/lake` and, beside it, what a judge has not said yet."""
    generator = np.random.default_rng(seed)
    plan = _Plan(generator, pairs)
    held = []
    with open_lake(str(folder / "lake")) as lake:
        for start in range(0, pairs, CHUNK):
            tables = _draw(plan, start, min(CHUNK, pairs - start), seed)
            held.append(tables.pop("held"))
            _insert(lake, tables)
    pl.concat(held).write_parquet(folder / HELD)


class _Plan:
    """What all chunks share."""

    def __init__(self, generator: np.random.Generator, pairs: int) -> None:
        self.generator = generator
        direction = generator.standard_normal(DIMENSIONS)
        self.direction = (direction / np.linalg.norm(direction)).astype(np.float32)
        self.topics = _scale(generator.standard_normal((TOPICS, DIMENSIONS), dtype=np.float32))
        self.gold = np.zeros(pairs, dtype=bool)
        self.gold[generator.permutation(pairs)[: min(GOLD, pairs // 4)]] = True


def _draw(plan: _Plan, start: int, n: int, seed: int) -> dict[str, Any]:
    """The rows of every table that `n` pairs bring."""
    rng = plan.generator
    number = np.arange(start, start + n)
    prompt = _make_ids(rng, n)
    both = np.sort(_make_ids(rng, 2 * n).to_numpy(zero_copy_only=False).reshape(n, 2), axis=1)
    a, b = (pl.Series(both[:, side], dtype=pl.String) for side in (0, 1))
    prompts = pl.Series(prompt.to_pylist())
    asked = _write_texts(seed * 1_000_003 + start, np.maximum(12, rng.poisson(60, n)))
    sizes = rng.integers(40, 220, (2, n))
    said = [_write_texts(seed * 1_000_003 + start + 1 + side, sizes[side]) for side in (0, 1)]
    vectors = [_scale(rng.standard_normal((n, DIMENSIONS), dtype=np.float32)) for _ in range(2)]
    near = plan.topics[rng.integers(0, TOPICS, n)]
    noise = _scale(rng.standard_normal((n, DIMENSIONS), dtype=np.float32))
    truth = (vectors[0] - vectors[1]) @ plan.direction * STEEP + rng.logistic(size=n) > 0
    source, who, kind = (rng.integers(0, k, n) for k in (len(SOURCES), 4, len(CATEGORIES)))
    label = truth ^ (rng.random(n) < np.array(WRONG)[who])
    judged = ask_judges(truth, (ACCURACY,) * len(SPOKEN), CORRELATION, rng)
    names, kinds = (pl.Series(np.array(w)[k]) for w, k in ((SOURCES, source), (CATEGORIES, kind)))
    pair_ids = pl.Series([make_pair_id(*row) for row in zip(prompts, a, b, strict=True)])
    base = pl.DataFrame({"prompt_id": prompts, "response_a": a, "response_b": b,
                         "source": names, "category": kinds, "pair_id": pair_ids})  # fmt: skip

    labels = _speak(rng, base, "import", label, pl.format("import:{}/annotator-{}", names,
                    pl.Series(who)))  # fmt: skip
    gold = plan.gold[number]
    experts = pl.lit("import:gold/experts")
    truths = _speak(rng, base.filter(pl.Series(gold)), "human", truth[gold], experts, True)
    opinions, held = [], []
    for at, share in enumerate(SPOKEN):
        rows = _speak(rng, base, "llm", judged[:, at], pl.lit(f"import:opinions/judge-{at}"))
        spoke = pl.Series(rng.random(n) < share)
        opinions.append(rows.filter(spoke))
        held.append(rows.filter(~spoke))
    told = {"labels": labels, "gold": truths, "opinions": pl.concat(opinions)}

    texts = [text.to_pylist() for text in (asked, *said)]
    ends = [text[-CONTEXT:] for text in texts[0]]
    keys = [hash_text(end) for end in ends]
    for side in (1, 2):
        keys += [hash_text(f"{end}\n{text}") for end, text in zip(ends, texts[side], strict=True)]
    stacked = np.concatenate([_scale(near + noise), *vectors])
    messages = [[{"role": "user", "content": text}] for text in texts[0]]
    responses = pl.DataFrame({
        "response_id": pl.concat([a, b]), "prompt_id": pl.concat([prompts, prompts]),
        "content": pl.concat([pl.Series(text) for text in said]),
    })  # fmt: skip
    return {
        "prompts": base.select("prompt_id", "category", "source", licence=pl.lit("MIT"))
        .with_columns(messages=pl.Series(messages)),
        "responses": responses,
        "rollouts": responses.select(
            rollout_id=pl.Series(_make_ids(rng, 2 * n)), request_id="response_id",
            prompt_id="prompt_id", response_id="response_id", sample_index=pl.lit(0),
            policy=pl.format("import:{}", pl.concat([names, names])),
        ),
        "judgments": pl.concat([rows.drop("source", "category", "pair_id")
                                for rows in told.values()]),
        "imports": pl.concat([_account(name, rows, start) for name, rows in told.items()]),
        "splits": base.select("prompt_id", cluster_id="prompt_id").with_columns(
            split=pl.Series([_side(name) for name in prompts])
        ),
        "embeddings": pa.table({
            "text_hash": keys, "model": [name_embedder(MINILM)] * len(keys),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(stacked.ravel()), DIMENSIONS),
        }),
        "held": pl.concat(held).drop("source", "category", "pair_id"),
    }  # fmt: skip


def _speak(
    rng: np.random.Generator, base: pl.DataFrame, kind: str, first: Any, who: pl.Expr,
    gold: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """Opinions on the pairs of `base`, one each."""
    return base.with_columns(
        judgment_id=pl.Series(_make_ids(rng, len(base))), annotator=who, kind=pl.lit(kind),
        p_a=pl.Series(np.asarray(first, dtype=np.float64)), tie=pl.lit(False), valid=pl.lit(True),
        sample_index=pl.lit(0), gold=pl.lit(gold), detail=pl.lit('{"row": 1}'),
    )  # fmt: skip


def _account(name: str, rows: pl.DataFrame, start: int) -> pl.DataFrame:
    """The rows of `imports` that brought these opinions."""
    return rows.select(
        source=pl.col("source") if name == "labels" else pl.lit(name),
        file_hash=pl.lit(name), row=pl.int_range(pl.len()) + 4 * start, revision=pl.lit(0),
        settings=pl.lit("{}"), outcome=pl.lit("kept"), licence=pl.lit("MIT"), category="category",
        prompt_id="prompt_id", pair_ids=pl.concat_list("pair_id"), judgments=pl.lit(1),
        judgment_ids=pl.concat_list("judgment_id"),
    )  # fmt: skip


def _side(prompt_id: str) -> str:
    """As `pipelines.clean.splits` has it."""
    return "test" if make_seed("split", prompt_id) / 2**31 < TEST else "train"


def _insert(lake: Lake, tables: dict[str, Any]) -> None:
    cursor = lake._cursor()
    cursor.execute("BEGIN")
    for table, rows in tables.items():
        frame = pl.from_arrow(rows) if isinstance(rows, pa.Table) else rows
        assert isinstance(frame, pl.DataFrame)
        kinds = polars_schema(table)
        incoming = frame.with_columns(
            pl.col(name).cast(kinds[name]) for name in frame.columns
        ).with_columns(run_id=pl.lit("scale"), created_at=pl.lit(datetime(2026, 1, 1)))  # fmt: skip
        arrow = incoming.to_arrow()
        cursor.register("incoming", arrow)
        cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        cursor.unregister("incoming")
    cursor.execute("COMMIT")


def _make_ids(rng: np.random.Generator, n: int) -> pa.Array:
    """`n` ids of 32 hex digits."""
    letters = rng.bytes(16 * n).hex().encode()
    places = np.arange(n + 1, dtype=np.int64) * 32
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(places), pa.py_buffer(letters))


def _write_texts(seed: int, counts: Any) -> pa.Array:
    writer = Writer(seed)
    sizes = np.asarray(counts, dtype=np.int64)
    return writer.spell(writer.draw_words(sizes), sizes)


def _scale(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
