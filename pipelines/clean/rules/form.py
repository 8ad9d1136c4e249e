"""How a response is put together: what it says again, and whether it came to an end."""

from __future__ import annotations

import zlib

import polars as pl

NGRAM = 4
READ = 200_000  # characters whose n-grams are counted
LEAST_GRAMS = 8  # of fewer, one that comes again says nothing
LEAST_BYTES = 200  # a short text hardly compresses, or only by its format
SENTENCE_WORDS = 8  # a last line of fewer may be a name, a number, a title
_FENCE = r"(?m)^\s*(?:```|~~~)"
_ENDED = r"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964:;\"'\u201d\u2019\u300d\u300f)\]}>*_`|~$]$"
_ITEM = r"^\s*(?:[-*+\u2022#>|]|\d+[.)])"


def measure_repeated_lines(text: pl.Expr) -> pl.Expr:
    """The share of the lines (that are not empty) that stood before in the same text; 0 of one
    line or none."""
    lines = (
        text.str.split("\n")
        .list.eval(pl.element().str.strip_chars())
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    count = lines.list.len()
    return (
        pl.when(count > 1)
        .then(1 - lines.list.n_unique() / count)
        .otherwise(pl.when(text.is_not_null()).then(0.0))
    )


def measure_repeated_ngrams(text: pl.Expr) -> pl.Expr:
    """The share of a text's word 4-grams that came before in it; 0 of a text with less than
    `LEAST_GRAMS` of them."""
    words = text.str.slice(0, READ).str.to_lowercase().str.extract_all(r"\w+|[^\w\s]")
    grams = words.list.eval(
        pl.concat_str([pl.element().shift(-n) for n in range(NGRAM)], separator=" ").drop_nulls()
    )
    count = grams.list.len()
    return (
        pl.when(count >= LEAST_GRAMS)
        .then(1 - grams.list.n_unique() / count)
        .otherwise(pl.when(text.is_not_null()).then(0.0))
    )


def measure_compressibility(texts: pl.Series) -> pl.Series:
    """The share of a text's bytes that zlib saves; 0 of a text under `LEAST_BYTES`. Prose of a
    page saves about half."""

    def measure(text: str) -> float:
        raw = text.encode()
        if len(raw) < LEAST_BYTES:
            return 0.0
        return max(0.0, 1 - len(zlib.compress(raw, 1)) / len(raw))

    values = [None if text is None else measure(text) for text in texts]
    return pl.Series(texts.name, values, dtype=pl.Float64)


def measure_unfinished(text: pl.Expr) -> pl.Expr:
    """1 where a code fence stays open, 0.5 where the last line is prose of `SENTENCE_WORDS` words
    or more without an end, else 0."""
    whole = text.str.strip_chars()
    last = whole.str.extract(r"([^\n]*)$", 1)
    prose = (
        (last.str.count_matches(r"\S+") >= SENTENCE_WORDS)
        & last.str.contains(r"\p{L}$|,$|\p{N}$|[-\u2013\u2014]$")
        & ~last.str.contains(_ITEM)
    )
    return (
        pl.when(text.is_null())
        .then(None)
        .when(whole.str.count_matches(_FENCE) % 2 == 1)
        .then(1.0)
        .when(prose & ~last.str.contains(_ENDED))
        .then(0.5)
        .otherwise(0.0)
    )
