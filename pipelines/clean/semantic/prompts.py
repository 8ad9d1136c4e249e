"""Prompts that say the same in other words.

Prompts without a verifier are put together where their vectors are close, whoever wrote them; those
with one only if what it checks and the numbers agree as well, for vectors hardly see numbers. What
has no word is near to nothing.
"""

from __future__ import annotations

import re

import polars as pl

from engines.embedder import MINILM
from pipelines.clean.semantic.groups import group_similar
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.vectors import embed_cached

WINDOW = 254
"""The tokens of a text that the embedder sees."""
CHECKED = ("verifier", "answer", "verifier_data")
NUMBER = r"\d+(?:[.,:/]\d+)*|[a-z]+"
COUNTED = (
    "zero", "", "two half twice double doubled doubles", "three third thirds thrice triple tripled "
    "triples", "four fourth fourths quarter quarters", "five fifth fifths", "six sixth sixths",
    "seven", "eight eighth", "nine", "ten tenth tenths", "eleven", "twelve dozen dozens",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
"""The words of each number. `one` is none: it mostly stands for something mentioned."""
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBERS = {word: str(number) for number, words in enumerate(COUNTED) for word in words.split()}
NUMBERS |= {word: str(10 * number) for number, word in enumerate(TENS, 2)}
NUMBERS |= {"hundred": "100", "thousand": "1000", "million": "1000000"}


def group_reworded(
    lake: Lake, run: Run, prompts: pl.DataFrame, similarity: float, *, whole: bool = False
) -> dict[str, tuple[str, float]]:
    """Put paraphrases together: prompt_id -> (the first of its group, its greatest similarity to
    another member). Groups are connected components; who is in none is left out.

    Args:
        prompts: prompt_id, text, verifier, and of the rest of `CHECKED` what there is; in the order
            of who is to stand for a group.
        similarity: from which cosine on two prompts are near.
        whole: leave out texts that the embedder sees only the beginning of.
    """
    asked = prompts.filter(pl.col("text").str.contains(r"[\p{L}\p{N}]"))
    if whole:
        asked = asked.filter(pl.Series([fits(text) for text in asked["text"]], dtype=pl.Boolean))
    if len(asked) < 2:
        return {}
    vectors = embed_cached(lake, run, asked["text"].to_list(), MINILM)
    found = group_similar(vectors, similarity, class_prompts(asked))
    ids = asked["prompt_id"].to_list()
    rows = zip(ids, found.first.tolist(), found.value.tolist(), strict=True)
    return {prompt_id: (ids[first], value) for prompt_id, first, value in rows if value >= 0}


def fits(text: str) -> bool:
    """Whether the embedder sees the whole text. A text of so many characters has no more tokens."""
    from engines.tokenizers import load_tokenizer

    return len(text) <= WINDOW or len(load_tokenizer(MINILM)(text)) <= WINDOW


def class_prompts(prompts: pl.DataFrame) -> list[object]:
    """What each prompt must share with another to be merged with it by meaning: nothing for one
    without a verifier; else what `CHECKED` names and the numbers in the text."""
    checked = prompts.select(name for name in CHECKED if name in prompts.columns).rows()
    return [
        None if verifier is None else (*checks, list_numbers(text))
        for text, verifier, checks in zip(
            prompts["text"], prompts["verifier"], checked, strict=True
        )
    ]


def list_numbers(text: str) -> str:
    """The different numbers that a text names, sorted, number words as figures. `1,000` is 1000,
    `3.50` is 3.5, `twice` is 2."""
    found = set()
    for word in re.findall(NUMBER, text.lower()):
        if word[0].isdigit():
            plain = re.sub(r",(?=\d{3}\b)", "", word)
            found.add(plain.rstrip("0").rstrip(".") if "." in plain else plain)
        elif word in NUMBERS:
            found.add(NUMBERS[word])
    return " ".join(sorted(found))
