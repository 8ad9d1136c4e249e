"""Evaluation sets, read from the file that somebody has: the prompts that must not be trained on.

A layout is known by its columns. What is read of a row is its prompt alone, never its answers.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from pipelines.lake.parts import read_messages
from pipelines.lake.readers import HUB, BadRow, ImportFailed, open_pool, read_rows
from schemas.errors import AssayError
from schemas.ids import hash_text, make_fingerprint

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")
PLAIN = ("prompt", "question", "instruction", "problem", "messages", "conversations")
"""Where the prompt is looked for in a file of no known layout, in this order."""

Row = Mapping[str, Any]


class EvaluationSetUnusable(AssayError):
    """A file of evaluation prompts that cannot be used; the message names it and the mend."""


@dataclass(frozen=True)
class Layout:
    """How a public evaluation set is laid out: the column of its prompt, the column that names a
    row (None: its number does), and the further columns that tell it from others."""

    name: str
    prompt: str
    key: str | None
    others: tuple[str, ...]


LAYOUTS = (
    Layout("HumanEval", "prompt", "task_id", ("canonical_solution", "entry_point")),
    Layout("IFEval", "prompt", "key", ("instruction_id_list",)),
    Layout("JudgeBench", "question", "pair_id", ("response_A", "response_B", "label")),
    Layout("RMB", "conversation_input", "pair_uid", ("chosen", "reject")),
    Layout("RMB", "conversation_input", "bon_uid", ("bon_best", "loser_list")),
    Layout("RewardBench 2", "prompt", "id", ("chosen", "rejected", "num_correct")),
    Layout("RM-Bench", "prompt", "id", ("chosen", "rejected", "domain")),
    Layout("RewardBench", "prompt", "id", ("chosen", "rejected", "subset")),
    Layout("PPE", "prompt", "question_id", ("response_1", "response_2")),
    Layout("LLMBar", "input", None, ("output_1", "output_2", "label")),
    Layout("Steps", "prompt", "id", ("chains",)),
    Layout("MATH", "problem", "unique_id", ("answer", "subject", "level")),
    Layout("MATH", "problem", None, ("solution", "level", "type")),
    Layout("AlpacaEval", "instruction", None, ("output", "generator")),
    Layout("GSM8K", "question", None, ("answer",)),
)
"""In the order in which they are looked for. GSM8K is also known by the `####` of its answers."""


@dataclass(frozen=True)
class EvaluationSet:
    """The prompts of one file: `texts[i]` is the prompt of the row that `keys[i]` names.

    `name` is the layout's, or the file's where the layout is none known; `unread` counts
    by reason the rows that hold no prompt. `content_hash` follows from keys and texts alone.
    """

    name: str
    place: str
    keys: tuple[str, ...]
    texts: tuple[str, ...]
    unread: Mapping[str, int]
    content_hash: str


def read_evaluation_set(path: str, base: Path | None = None) -> EvaluationSet:
    """Read the prompts of an evaluation set.

    Args:
        path: a Parquet, JSONL, JSON or CSV file (also `.gz`), a folder of such files or one that
            `save_to_disk` wrote, or `hub:ORG/NAME`.
        base: what a relative path is relative to; the working directory if not given.

    Raises:
        EvaluationSetUnusable: it is missing, cannot be read, holds no prompt, or has no column that
            a prompt could be in.
    """
    if path.startswith(HUB):
        return _read(path)
    place = (base or Path()) / path
    files = list_files(place)
    return _read_cached(str(place), tuple((str(f), f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=64)
def _read_cached(place: str, _files: tuple[tuple[str, int], ...]) -> EvaluationSet:
    return _read(place)


def _read(place: str) -> EvaluationSet:
    names: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    keys: list[str] = []
    texts: list[str] = []
    for prefix, rows in open_files(place):
        layout: Layout | None = None
        for number, row in rows:
            if isinstance(row, BadRow):
                unread[row.reason] += 1
                continue
            if layout is None:
                layout = detect_layout(row, place)
                names[layout.name] += 1
            try:
                texts.append(_read_prompt(row, layout))
            except ValueError as error:
                unread[str(error)] += 1
                continue
            key = row.get(layout.key) if layout.key else None
            keys.append(prefix + (str(number) if key is None else str(key)))
    if not texts:
        why = ", ".join(f"{reason}: {n} rows" for reason, n in sorted(unread.items()))
        raise EvaluationSetUnusable(
            f"{place}: it holds no prompt{f' ({why})' if why else ''}; give another file"
        )
    name = next(iter(names)) if len(names) == 1 else ""
    content = make_fingerprint(
        [key, hash_text(text)] for key, text in zip(keys, texts, strict=True)
    )
    return EvaluationSet(
        name=name or name_place(place),
        place=place,
        keys=tuple(keys),
        texts=tuple(texts),
        unread=dict(sorted(unread.items())),
        content_hash=content,
    )


def detect_layout(row: Row, place: str) -> Layout:
    """The known layout that a row is of, else one of a plain column of prompts.

    Raises:
        EvaluationSetUnusable: it has no such column either; the message names those it has.
    """
    for layout in LAYOUTS:
        if layout.prompt in row and all(name in row for name in layout.others):
            if layout.key is not None and layout.key not in row:
                continue
            if layout.name == "GSM8K" and "####" not in str(row["answer"]):
                continue
            return layout
    for column in PLAIN:
        if column in row:
            return Layout("", column, "id" if "id" in row else None, ())
    raise EvaluationSetUnusable(
        f"{place}: no column of prompts among {', '.join(list(row)[:12])}; rename the one that "
        f"holds them to {PLAIN[0]}"
    )


def _read_prompt(row: Row, layout: Layout) -> str:
    value = row.get(layout.prompt)
    if isinstance(value, list):
        text = "\n".join(message["content"] for message in read_messages(row, layout.prompt))
    elif isinstance(value, str):
        text = value
    else:
        raise ValueError(f"{layout.prompt} is neither text nor a list of messages")
    added = row.get("input") if layout.prompt == "instruction" else None
    if isinstance(added, str) and added.strip():
        text = f"{text}\n\n{added}"
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text is not valid Unicode") from None
    if not text.strip():
        raise ValueError(f"{layout.prompt} is empty")
    return text


def list_files(place: Path) -> list[Path]:
    """The files that make up a set, whichever reader takes them.

    Raises:
        EvaluationSetUnusable: there is nothing of that name.
    """
    if not place.exists():
        raise EvaluationSetUnusable(f"{place}: no such file; check the path of the evaluation set")
    return sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]


def open_files(place: str) -> Iterator[tuple[str, Iterator[tuple[int, Row | BadRow]]]]:
    """The files of a set: what their rows' keys begin with, and their rows, numbered from 0.

    Raises:
        EvaluationSetUnusable: a folder without such files; in the middle, a file that breaks off.
    """
    folder = Path(place)
    if place.startswith(HUB) or not folder.is_dir() or _is_saved(folder):
        yield "", _read_file(place)
        return
    files = [f for f in sorted(folder.rglob("*")) if _find_kind(f) is not None]
    if not files:
        raise EvaluationSetUnusable(
            f"{place}: this folder holds no {', '.join(SUFFIXES)} file and was not written by "
            "`save_to_disk`; give the file itself"
        )
    for file in files:
        name = str(file.relative_to(folder)).removesuffix(".gz")
        yield f"{name.rsplit('.', 1)[0]}:", _read_file(str(file))


def _is_saved(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("dataset_dict.json", "dataset_info.json"))


def _find_kind(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _read_file(place: str) -> Iterator[tuple[int, Row | BadRow]]:
    kind = _find_kind(Path(place))
    try:
        if kind == ".json":
            yield from enumerate(_read_json(Path(place)))
        elif kind == ".csv" and place.lower().endswith(".gz"):
            yield from enumerate(_read_zipped_csv(Path(place)))
        else:
            yield from read_rows(open_pool(place))
    except (ImportFailed, OSError, EOFError, csv.Error) as error:
        raise EvaluationSetUnusable(
            str(error) if isinstance(error, ImportFailed) else f"{place}: cannot be read: {error}"
        ) from error


def _read_json(file: Path) -> list[Row | BadRow]:
    """A list of rows, one row, or columns by name (each a list, all equally long)."""
    data = file.read_bytes()
    if file.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise EvaluationSetUnusable(
                f"{file}: not JSON ({error}); a file of one object a line is named .jsonl"
            ) from error
    if isinstance(content, dict):
        columns = list(content.values())
        if columns and all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
            names = list(content)
            content = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        else:
            content = [content]
    if not isinstance(content, list):
        raise EvaluationSetUnusable(f"{file}: neither a list of rows nor a row; check the file")
    return [
        row if isinstance(row, dict) else BadRow("not a JSON object", str(row)) for row in content
    ]


def _read_zipped_csv(file: Path) -> Iterator[Row]:
    text = gzip.decompress(file.read_bytes()).decode("utf-8-sig", errors="replace")
    yield from csv.DictReader(io.StringIO(text, newline=""))


def name_place(place: str) -> str:
    """What a set of no known layout is called: its file without suffix, or its name on the hub."""
    if place.startswith(HUB):
        return place.removeprefix(HUB)
    name = Path(place).name.removesuffix(".gz")
    return next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)
