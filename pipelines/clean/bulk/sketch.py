"""One pass over a part of a pool: everything that later steps need to know of its rows.

A sketch is a folder of arrays, named by the plan and by what is in the part: a part that was
sketched under the same plan is never read again. It is written beside its place and moved there
when it is whole, so that a killed run leaves nothing that looks done.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.clean.bulk.pool import FACTS, PoolPart, read_part
from pipelines.clean.contamination import HITS, References, find_copies
from pipelines.clean.strata import UNKNOWN
from schemas.ids import make_id

SKETCH = 3
TIERS = ("gold", "silver", "candidate")
TEXTS = ("prompt", "chosen", "rejected")
AXES = ("category", "source", "difficulty", "objectivity")


@dataclass(frozen=True)
class Plan:
    """What is looked for in the rows of a pool.

    Attributes:
        similarity: from which Jaccard similarity of their word 5-grams on two pairs are near.
        references: evaluation prompts, None to look for none; `least` the share of a prompt's
            n-grams that a text must hold, by method (see `contamination.find_copies`).
    """

    similarity: float = 0.8
    references: References | None = None
    least: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What a sketch depends on beside its rows."""
        from pipelines.clean.kernels.bands import plan_rows

        sets = self.references.hashes if self.references else ()
        return make_id("sketch", SKETCH, plan_rows(self.similarity), list(sets), dict(self.least))


@dataclass(frozen=True, eq=False)
class Sketch:
    """The arrays of a part, read as they are asked for. n rows."""

    part: PoolPart
    folder: Path

    def load(self, name: str) -> NDArray[np.generic]:
        """An array, mapped: item_keys (n, 2) uint64, prompt_keys (n,) uint64, id_keys (n,) uint64,
        turned (n,) bool, same (n,) bool (the answers are equal), bands (b, n) uint32, ends (n,)
        int64, shingles; fault (n,) int8, chars (n,) uint32 (of the longer answer), tier (n,) int8
        (its place in `TIERS`), votes (n,) int32; of each of `AXES` (n,) uint32, places in what
        `read_names` says."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def read_names(self, axis: str) -> list[str]:
        """What there is of one of `AXES`, each once."""
        return list(json.loads((self.folder / "names.json").read_text("utf-8"))[axis])

    def read_ids(self) -> pl.Series:
        """The ids of the rows, mapped: only those that are taken from it are read."""
        with pa.memory_map(str(self.folder / "ids.arrow")) as file:
            return pl.Series("id", pa.ipc.open_file(file).read_all()["id"])

    def read_hits(self) -> pl.DataFrame:
        """Rows that hold an evaluation prompt: row (in the part), method, set, set_row, value,
        excerpt; one a row, that of the first method."""
        return pl.read_parquet(self.folder / "hits.parquet")


def find_sketch(part: PoolPart, plan: Plan, state: Path) -> Sketch | None:
    """The sketch of a part where there is one."""
    folder = state / plan.key / part.key
    return Sketch(part, folder) if folder.is_dir() else None


def load_all(sketches: Sequence[Sketch], name: str) -> Any:
    """One array of all sketches, one after another (see `Sketch.load`)."""
    return np.concatenate([sketch.load(name) for sketch in sketches])


def sketch_part(part: PoolPart, plan: Plan, state: Path, threads: int = 2) -> Sketch:
    """The sketch of a part, made where there is none.

    Args:
        state: the folder of all sketches.
        threads: that walk the texts.
    """
    known = find_sketch(part, plan, state)
    if known is not None:
        return known
    place = state / plan.key
    place.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{part.key[:12]}-", dir=place))
    try:
        _write_sketch(part, plan, draft, threads)
        try:
            os.rename(draft, place / part.key)
        except OSError:  # another process was first
            if not (place / part.key).is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Sketch(part, place / part.key)


@dataclass(frozen=True)
class _Walked:
    item_keys: NDArray[np.uint64]
    prompt_keys: NDArray[np.uint64]
    id_keys: NDArray[np.uint64]
    turned: NDArray[np.bool_]
    same: NDArray[np.bool_]
    bands: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    shingles: NDArray[np.uint32]
    facts: pl.DataFrame
    hits: pl.DataFrame


def _write_sketch(part: PoolPart, plan: Plan, draft: Path, threads: int) -> None:
    from pipelines.clean.kernels.chunks import map_chunks

    wanted = (*TEXTS, "pair_id", *FACTS)
    walked: list[_Walked] = []
    at = 0
    with (draft / "shingles.npy").open("wb") as file:
        total = 0
        file.write(b"\0" * HEADER)
        chunks = _number(read_part(part, wanted))
        for found in map_chunks(partial(_walk, plan=plan, part=part), chunks, threads):
            file.write(memoryview(found.shingles).cast("B"))
            total += found.shingles.size
            walked.append(_drop_shingles(found))
            at += len(found.facts)
        file.seek(0)
        file.write(_make_header(total))
    for name in ("item_keys", "prompt_keys", "id_keys", "turned", "same"):
        np.save(draft / f"{name}.npy", np.concatenate([getattr(w, name) for w in walked]))
    np.save(draft / "ends.npy", np.cumsum(np.concatenate([w.sizes for w in walked])))
    np.save(draft / "bands.npy", np.concatenate([w.bands for w in walked], axis=1))
    _write_facts(pl.concat([w.facts for w in walked]), draft)
    pl.concat([w.hits for w in walked]).write_parquet(draft / "hits.parquet")


def _write_facts(facts: pl.DataFrame, draft: Path) -> None:
    """Numbers as arrays, words as places in a list, so that whoever looks at all rows of a pool
    again decodes nothing."""
    facts.select("id").write_ipc(draft / "ids.arrow", compression="uncompressed")
    for name in ("fault", "chars", "tier", "votes"):
        np.save(draft / f"{name}.npy", facts[name].to_numpy())
    names = {axis: facts[axis].unique(maintain_order=True) for axis in AXES}
    for axis, words in names.items():
        np.save(draft / f"{axis}.npy", facts[axis].cast(pl.Enum(words)).to_physical().to_numpy())
    content = {axis: words.to_list() for axis, words in names.items()}
    (draft / "names.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")


HEADER = 128


def _make_header(count: int) -> bytes:
    """The header of a .npy file of `count` numbers, always `HEADER` bytes, written last."""
    text = f"{{'descr': '<u4', 'fortran_order': False, 'shape': ({count},), }}"
    body = text.ljust(HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + body.encode()


def _number(batches: Iterator[pl.DataFrame]) -> Iterator[tuple[int, pl.DataFrame]]:
    first = 0
    for frame in batches:
        yield first, frame
        first += len(frame)


def _drop_shingles(found: _Walked) -> _Walked:
    return _Walked(**{**found.__dict__, "shingles": found.shingles[:0]})


def _walk(numbered: tuple[int, pl.DataFrame], plan: Plan, part: PoolPart) -> _Walked:
    from pipelines.clean.kernels.bands import plan_rows
    from pipelines.clean.kernels.exact import make_item_keys
    from pipelines.clean.kernels.filling import scatter_ids
    from pipelines.clean.kernels.minhash import sign_items
    from pipelines.clean.kernels.words import read_texts

    first, frame = numbered
    usable = pl.when(pl.col("fault") == 0)
    texts = frame.select(*(usable.then(name).alias(name) for name in TEXTS))
    rows = plan_rows(plan.similarity)
    signed = sign_items([read_texts(texts[name]) for name in TEXTS], rows)
    item_keys, turned = make_item_keys(signed.keys)
    sizes = np.diff(np.concatenate([np.zeros(1, np.int64), signed.ends]))
    same = (signed.keys[:, 1] == signed.keys[:, 2]).all(axis=1)
    facts = _read_facts(frame, first, part)
    ids = read_texts(facts["id"])
    return _Walked(
        item_keys=item_keys,
        prompt_keys=np.ascontiguousarray(signed.keys[:, 0, 0]),
        id_keys=scatter_ids(ids.data, ids.starts, ids.ends, 0),
        turned=turned,
        same=same,
        bands=signed.bands,
        sizes=sizes,
        shingles=signed.shingles,
        facts=facts,
        hits=_find_hits(texts, plan, first),
    )


def _read_facts(frame: pl.DataFrame, first: int, part: PoolPart) -> pl.DataFrame:
    given = frame.columns

    def take(name: str, otherwise: pl.Expr) -> pl.Expr:
        return pl.col(name) if name in given else otherwise

    places = {name: place for place, name in enumerate(TIERS)}
    number = pl.int_range(pl.len()) + part.first + first
    position = pl.format("{}:{}", pl.lit(Path(part.path).name), number)
    return frame.select(
        id=pl.coalesce(take("pair_id", pl.lit(None, pl.String)).cast(pl.String), position),
        fault="fault",
        chars=pl.max_horizontal(
            pl.col("chosen").str.len_chars(), pl.col("rejected").str.len_chars()
        ).fill_null(0),
        tier=take("tier", pl.lit(None, pl.String))
        .cast(pl.String).replace_strict(places, default=len(TIERS), return_dtype=pl.Int8),
        votes=take("votes", pl.lit(1)).fill_null(1).cast(pl.Int32),
        **{
            name: take(name, pl.lit(None)).cast(pl.String).fill_null(UNKNOWN)
            for name in AXES
        },
    )  # fmt: skip


def _find_hits(texts: pl.DataFrame, plan: Plan, first: int) -> pl.DataFrame:
    schema = {"row": pl.Int64, **{k: v for k, v in HITS.items() if k not in ("item", "row")},
              "set_row": pl.String}  # fmt: skip
    if plan.references is None or not plan.least:
        return pl.DataFrame(schema=schema)
    order = {method: place for place, method in enumerate(plan.least)}
    found = [
        find_copies(texts[name], plan.references, plan.least).rename({"row": "set_row"})
        for name in TEXTS
    ]
    place = pl.col("method").replace_strict(order, return_dtype=pl.Int64)
    return (
        pl.concat(found)
        .sort("item", place, -pl.col("value"), "set", "set_row")
        .unique("item", keep="first", maintain_order=True)
        .with_columns(row=pl.col("item") + first)
        .select(list(schema))
    )
