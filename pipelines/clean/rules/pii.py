"""What identifies a person by a number or an address: found by a pattern, and held against the
rules of such numbers (`phonenumbers`, `python-stdnum`). Names and postal addresses are not found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import polars as pl

_MAYBE = r"@|\d[\d\s().:-]{5,}\d|\d\.\d|[A-Z]{2}\d{2} ?[A-Z0-9]{4}"  # nothing without one of these
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"
)
_CARD = re.compile(r"(?<![\d.])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\d.]?\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_IP = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")
_BESIDE = 10
_PHONE = re.compile(  # two to eight groups of digits: a longer row of them is a table
    r"(?<!\d)(?<!\d[ .()-])(?<!\d[ .()-]{2})\+?\(?\d{1,4}(?:[ .()-]{1,2}\d{2,8}){1,7}"
    r"(?![ .()-]{0,2}\d)"
)


@dataclass(frozen=True)
class Span:
    """One finding: `text[start:end]` is of this kind."""

    start: int
    end: int
    kind: str


def find_pii(text: str, kinds: Collection[str], region: str = "US") -> list[Span]:
    """The findings of these kinds (`schemas.cleaning.PiiKind`), in order, none over another.

    A card has a valid check digit, an IBAN and a social security number are possible ones, an
    address of the Internet is public, a phone number exists by its country's plan (by that of
    `region` without a country code) and is written as one, not as a bare run of digits.
    """
    found = sorted(
        (span for kind in kinds for span in _FINDERS[kind](text, region)),
        key=lambda span: (span.start, -span.end, span.kind),
    )
    kept: list[Span] = []
    for span in found:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def count_pii(texts: pl.Series, kinds: Collection[str], region: str = "US") -> pl.Series:
    """How many findings each text has."""
    maybe = texts.str.contains(_MAYBE)
    counts = [
        None if text is None else len(find_pii(text, kinds, region)) if may else 0
        for text, may in zip(texts, maybe, strict=True)
    ]
    return pl.Series(texts.name, counts, dtype=pl.Float64)


def redact(text: str, kinds: Collection[str], region: str = "US") -> str:
    """The text with `[EMAIL]`, `[PHONE]` and so on in the place of what was found."""
    parts, last = [], 0
    for span in find_pii(text, kinds, region):
        parts += [text[last : span.start], f"[{span.kind.upper()}]"]
        last = span.end
    return "".join([*parts, text[last:]])


def _find(pattern: re.Pattern[str], text: str, kind: str, is_one: Callable[[str], bool]
          ) -> Iterator[Span]:  # fmt: skip
    for match in pattern.finditer(text):
        if is_one(match.group()):
            yield Span(match.start(), match.end(), kind)


def _find_emails(text: str, region: str) -> Iterator[Span]:
    return _find(_EMAIL, text, "email", lambda _: True)


def _find_cards(text: str, region: str) -> Iterator[Span]:
    from stdnum import luhn

    return _find(_CARD, text, "card", lambda said: bool(luhn.is_valid(re.sub(r"\D", "", said))))


def _find_ibans(text: str, region: str) -> Iterator[Span]:
    from stdnum import iban

    return _find(_IBAN, text, "iban", lambda said: bool(iban.is_valid(said)))


def _find_ssns(text: str, region: str) -> Iterator[Span]:
    from stdnum.us import ssn

    return _find(_SSN, text, "ssn", lambda said: bool(ssn.is_valid(said)))


def _find_ips(text: str, region: str) -> Iterator[Span]:
    return _find(_IP, text, "ip", _is_public)


def _is_public(said: str) -> bool:
    try:
        return ipaddress.ip_address(said).is_global
    except ValueError:
        return False


def _find_phones(text: str, region: str) -> Iterator[Span]:
    """The library reads only what may be a number: it takes minutes for megabytes of digits."""
    import phonenumbers

    for match in _PHONE.finditer(text):
        before = max(0, match.start() - _BESIDE)  # what is beside a date or a time tells it
        nearby = text[before : match.end() + _BESIDE]
        for number in phonenumbers.PhoneNumberMatcher(nearby, region):
            start = before + number.start
            if match.start() <= start < match.end():
                yield Span(start, start + len(number.raw_string), "phone")


_FINDERS: dict[str, Callable[[str, str], Iterator[Span]]] = {
    "card": _find_cards,
    "email": _find_emails,
    "iban": _find_ibans,
    "ip": _find_ips,
    "phone": _find_phones,
    "ssn": _find_ssns,
}
