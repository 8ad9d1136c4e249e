"""Which languages a text is in, by CLD2 (`pycld2`, which carries its tables)."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from schemas.errors import AssayError

SHORT = 40  # bytes; of less the guess is often wrong
READ = 4000  # characters of a text that are looked at
_NOT_TEXT = r"[\p{Cc}\p{Cn}\p{Co}]"  # what CLD2 refuses to read


class LanguageUnknown(AssayError):
    """A recipe keeps a language that no detector here knows."""


def measure_foreign(texts: pl.Series, keep: Collection[str]) -> pl.Series:
    """The share of each text that is in none of the languages `keep` (ISO 639 codes), 0 to 1; null
    where too little is there to tell: a number, a name, less than `SHORT` bytes.

    Raises:
        LanguageUnknown: a code that CLD2 does not know.
    """
    import pycld2

    known = {code.split("-")[0] for _, code in pycld2.LANGUAGES}
    for code in keep:
        if code not in known:
            raise LanguageUnknown(
                f"clean.quality.language.keep names {code!r}, which is no language that can be "
                "told; use codes such as en, de, zh"
            )

    def measure(text: str) -> float | None:
        if len(text.encode()) < SHORT:
            return None
        try:
            reliable, _, found = pycld2.detect(text)
        except pycld2.error:
            return None
        named = [(code.split("-")[0], percent) for _, code, percent, _ in found if code != "un"]
        total = sum(percent for _, percent in named)
        if not reliable or not total:
            return None
        return sum(percent for code, percent in named if code not in keep) / total

    plain = texts.str.slice(0, READ).str.replace_all(_NOT_TEXT, " ")
    return pl.Series(
        texts.name, [None if t is None else measure(t) for t in plain], dtype=pl.Float64
    )
