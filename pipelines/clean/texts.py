"""Small text measures that the cleaning stages share."""

from __future__ import annotations

import polars as pl

REFUSAL = (
    r"(?i)\b(?:i(?:['\u2019]m| am) sorry,? but"
    r"|i can(?:no|['\u2019])t (?:help|assist|comply|provide|do that)"
    r"|i(?:['\u2019]m| am) (?:not able|unable) to|as an ai(?: language model)?,? i)\b"
)


def normalise(text: pl.Expr) -> pl.Expr:
    """NFC, lower case, runs of white space as one space, no space around: what counts as the
    same text when duplicates are looked for."""
    return (
        text.str.normalize("NFC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    )


def is_refusal(text: pl.Expr) -> pl.Expr:
    """Whether a response opens by declining (a phrase within the first 200 characters). A crude
    sign for statistics and filtering, not a safety judgment."""
    return text.str.slice(0, 200).str.contains(REFUSAL)


def join_messages(prompts: pl.DataFrame) -> pl.DataFrame:
    """`prompts` with `text`: the contents of a prompt's messages, one a line."""
    return prompts.with_columns(
        text=pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n")
    )
