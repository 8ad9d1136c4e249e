"""Sentence vectors, cached in the lake by content: no text is embedded twice by one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engines.embedder import MINILM, Precision, choose_precision, embed_texts, name_embedder
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.run import Run
from schemas.ids import hash_text
from schemas.tables import polars_schema

STAGE = "embed"
CHUNK = 2_000
EXACT_BYTES = 256 * 2**20

CHOSEN = """
SELECT text_hash, arg_min(model, (created_at, model)) AS model
FROM embeddings SEMI JOIN wanted USING (text_hash) WHERE list_contains(?, model) GROUP BY text_hash
"""
VECTORS = "SELECT place, side, vector FROM embeddings JOIN wanted USING (text_hash, model)"


def embed_cached(
    lake: Lake, run: Run, texts: Sequence[str], model: str = MINILM
) -> NDArray[np.float32]:
    """A unit vector for each text: (len(texts), dimensions), float32.

    What the lake lacks is embedded and kept in `embeddings`, 2,000 texts a commit, so that a run
    that is killed goes on where it was. In which precision is the machine's choice and part of the
    key (see `choose_precision`).
    """
    if not texts:
        return np.zeros((0, 0), dtype=np.float32)
    precision = choose_precision()
    name = name_embedder(model, precision)
    hashes = [hash_text(text) for text in texts]
    first = dict(zip(hashes, texts, strict=True))
    known = _find(lake, [name], list(first))
    missing = [key for key in first if key not in known]
    for start in range(0, len(missing), CHUNK):
        keys = missing[start : start + CHUNK]
        vectors = embed_texts([first[key] for key in keys], model, precision=precision)
        rows = pl.DataFrame(
            {"text_hash": keys, "model": name, "vector": vectors.tolist()},
            schema_overrides={"vector": polars_schema("embeddings")["vector"]},
        )
        lake.append({"embeddings": rows}, run=run, stage=STAGE)
        known.update(zip(keys, vectors, strict=True))
        run.progress(STAGE, min(start + CHUNK, len(missing)), len(missing))
    return np.stack([known[key] for key in hashes])


def embed_missing(
    lake: Lake, run: Run, stage: str, texts: Sequence[str], model: str = MINILM
) -> int:
    """Embed what the lake lacks of `texts` in any precision, as `embed_cached` does; how many that
    were."""
    keyed = {hash_text(text): text for text in texts}
    missing = sorted(keyed[key] for key in find_missing(lake, list(keyed), model))
    embed_cached(lake, run, missing, model)
    return len(missing)


def read_vectors(
    lake: Lake | PastLake, texts: Sequence[str], model: str = MINILM
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors (n, d) of `texts`, and which of them (n,) the lake has; others are nothing. In
    whichever precision a text was embedded first, so that every machine reads the same."""
    return read_keyed(lake, [hash_text(text) for text in texts], model)


def read_keyed(
    lake: Lake | PastLake, keys: Sequence[str] | pl.Series, model: str = MINILM
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`read_vectors` of the texts with these hashes."""
    found = np.zeros((len(keys), 0), dtype=np.float32)
    has = np.zeros(len(keys), dtype=np.bool_)
    for places, _, vectors in _stream_vectors(lake, model, [keys]):
        if not has.any():
            found = np.zeros((len(keys), vectors.shape[1]), dtype=np.float32)
        found[places], has[places] = vectors, True
    return found, has


def subtract_keyed(
    lake: Lake | PastLake,
    first: Sequence[str] | pl.Series,
    second: Sequence[str] | pl.Series,
    model: str = MINILM,
) -> tuple[NDArray[np.float32] | NDArray[np.float64], NDArray[np.bool_]]:
    """The vector of each `first` text less that of the `second` (n, d), by their hashes, and of
    which rows (n,) the lake has both. The vectors themselves are never all in memory; the
    differences are exact (double precision) up to `EXACT_BYTES` of them, and beyond that rounded to
    single precision, half as large."""
    n = len(first)
    apart: NDArray[Any] = np.zeros((n, 0))
    has = np.zeros((n, 2), dtype=np.bool_)
    for places, sides, vectors in _stream_vectors(lake, model, [first, second]):
        if not has.any():
            exact = n * vectors.shape[1] * 8 <= EXACT_BYTES
            shape = n, vectors.shape[1]
            apart = np.zeros(shape, dtype=np.float64 if exact else np.float32)
        for side, sign in ((0, np.add), (1, np.subtract)):
            mine = sides == side
            apart[places[mine]] = sign(apart[places[mine]], vectors[mine])
        has[places, sides] = True
    return apart, has.all(axis=1)


def find_missing(
    lake: Lake | PastLake, keys: Sequence[str] | pl.Series, model: str = MINILM
) -> list[str]:
    """Those of the hashes of texts of which the lake has no vector in any precision, sorted."""
    found = lake.query(
        "SELECT DISTINCT text_hash FROM wanted "
        "ANTI JOIN (SELECT text_hash FROM embeddings WHERE list_contains(?, model)) "
        "USING (text_hash) ORDER BY text_hash",
        [_name_precisions(model)],
        wanted=_frame_keys(keys),
    )
    return found["text_hash"].to_list()


def key_texts(lake: Lake | PastLake, sql: str, **frames: pl.DataFrame) -> pl.DataFrame:
    """What `sql` finds, with `key`, the hash that vectors are kept by, in place of its column
    `text`: a block at a time, so that the texts are never all in memory. In no order."""
    parts = []
    for block in lake.stream(sql, **frames):
        kept = {name: kind for name, kind in block.schema.items() if name != "text"}
        rows: dict[str, list[Any]] = {name: block[name].to_list() for name in kept}
        rows["key"] = [hash_text(text) for text in block["text"]]
        # lists, since a column of a block keeps its other columns in memory
        parts.append(pl.DataFrame(rows, schema={**kept, "key": pl.String}))
    return pl.concat(parts)


def _stream_vectors(
    lake: Lake | PastLake, model: str, columns: Sequence[Sequence[str] | pl.Series]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of places, of the column (its number) that each is a place of, and vectors. No place
    of a column comes twice."""
    wanted = pl.concat(
        _frame_keys(keys).with_row_index("place").with_columns(side=pl.lit(side, pl.Int64))
        for side, keys in enumerate(columns)
    )
    names = _name_precisions(model)
    chosen = lake.query(CHOSEN, [names], wanted=wanted.select("text_hash").unique())
    wanted = wanted.join(chosen, on="text_hash").cast({"place": pl.Int64})
    if wanted.is_empty():
        return
    for block in lake.stream(VECTORS, wanted=wanted):
        if block.is_empty():
            continue
        flat = block["vector"].explode().to_numpy()
        yield (
            block["place"].to_numpy(),
            block["side"].to_numpy(),
            flat.astype(np.float32, copy=False).reshape(len(block), -1),
        )


def _find(
    lake: Lake | PastLake, names: Sequence[str], keys: list[str]
) -> dict[str, NDArray[np.float32]]:
    """The vectors of some texts by their hashes, in memory twice; of several the first kept."""
    found = lake.query(
        "SELECT text_hash, vector FROM embeddings SEMI JOIN wanted USING (text_hash) "
        "WHERE list_contains(?, model) "
        "QUALIFY row_number() OVER (PARTITION BY text_hash ORDER BY created_at, model) = 1",
        [list(names)],
        wanted=_frame_keys(keys),
    )
    if found.is_empty():
        return {}
    flat = found["vector"].explode().to_numpy().astype(np.float32)
    return dict(zip(found["text_hash"], flat.reshape(len(found), -1), strict=True))


def _frame_keys(keys: Sequence[str] | pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"text_hash": keys}, schema={"text_hash": pl.String})


def _name_precisions(model: str) -> list[str]:
    return [name_embedder(model, precision) for precision in get_args(Precision)]
