"""Small text measures that the cleaning stages share."""

from __future__ import annotations

import polars as pl


def normalise(text: pl.Expr) -> pl.Expr:
    """NFC, lower case, runs of white space as one space, no space around: what counts as the
    same text when duplicates are looked for."""
    return (
        text.str.normalize("NFC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    )


def drop_stops(text: pl.Expr) -> pl.Expr:
    """A normalised text without full stops, commas, colons and semicolons at the end of a word, and
    without a dash or bullet that it opens with. Signs inside a word (`3.14`), between numbers
    (`2 - 2`) and before one (`-4`) stay, and so do `?` and `!`, which say something."""
    unmarked = text.str.replace(r"^[-*•–—] (\p{L})", "${1}")
    return unmarked.str.replace_all(r"[.,;:]+( |$)", "${1}")


def join_messages(prompts: pl.DataFrame) -> pl.DataFrame:
    """`prompts` with `text`: the contents of a prompt's messages, one a line."""
    return prompts.with_columns(
        text=pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n")
    )
