"""Verifiable gates: what a request plainly asks of the form of a response, checked without a model.

A gate reads the request and the response. It passes, fails, or has nothing to say (None) where
the request asks no such thing. What it reads is crude: English phrases that state a limit, a
format, a language or words to use. A phrase inside a text that the request quotes is taken for one
of its own.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

NUMBERS = {
    "one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30,
    "fifty": 50, "a hundred": 100,
}  # fmt: skip
_N = rf"(\d{{1,5}}|{'|'.join(NUMBERS)})"
_U = r"[\s-]+(word|sentence|character|line|paragraph|bullet point)s?\b"
_MOST = re.compile(
    r"(?i)\b(?:at most|(?:no|not) more than|up to|maximum(?: of)?|within|(?:limited|keep it) to)"
    rf"\s+{_N}{_U}"
)
_OR_LESS = re.compile(rf"(?i)\b{_N}{_U}(?:\s+or\s+(?:less|fewer)|\s+max(?:imum)?\b)")
_UNDER = re.compile(rf"(?i)\b(?:under|(?<!no )fewer than|(?<!no )less than)\s+{_N}{_U}")
_LEAST = re.compile(rf"(?i)\b(?:at least|minimum(?: of)?|no (?:fewer|less) than)\s+{_N}{_U}")
_EXACT = re.compile(rf"(?i)\bexactly\s+{_N}{_U}")
_IN = re.compile(rf"(?i)\bin\s+{_N}\s+(sentence|line|paragraph|bullet point)s?\b(?!\s+(?:or|max))")
_BETWEEN = re.compile(rf"(?i)\bbetween\s+{_N}\s+and\s+{_N}{_U}")

SCRIPTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("russian", "ukrainian", "bulgarian", "serbian"), ("CYRILLIC",)),
    **dict.fromkeys(("chinese", "mandarin"), ("CJK",)),
    **dict.fromkeys(("arabic", "persian", "farsi", "urdu"), ("ARABIC",)),
    **dict.fromkeys(("hindi", "marathi", "nepali"), ("DEVANAGARI",)),
    **dict.fromkeys(
        ("english", "french", "german", "spanish", "italian", "portuguese", "dutch", "polish",
         "turkish", "swedish", "latin", "vietnamese", "indonesian"), ("LATIN",)),
    "japanese": ("HIRAGANA", "KATAKANA", "CJK"),
    "korean": ("HANGUL",),
    "greek": ("GREEK",),
    "hebrew": ("HEBREW",),
    "thai": ("THAI",),
    "bengali": ("BENGALI",),
}  # fmt: skip
_LANGUAGE = re.compile(
    r"(?i)\b(?:answer|reply|respond|write|translate)\b[^.?!\n]*?\b(?:in|into|to) "
    rf"({'|'.join(SCRIPTS)})\b"
)

_QUOTED = r"[\"']([^\"'\n]{1,80})[\"']"
_WORDS = r"(?:the )?(?:exact )?(?:words?|phrases?|terms?|keywords?|names?)"
_LIST = rf"{_QUOTED}(?:(?:,? and |,? or |, ){_QUOTED})*"
_BAN = r"(?:do not|don't|never|without|avoid) (?:us(?:e|ing)|mention(?:ing)?|includ(?:e|ing))"
_BANNED = re.compile(rf"(?i)\b{_BAN} {_WORDS} ({_LIST})")
_WANTED = re.compile(rf"(?i)\b(?:include|mention|use|contain) {_WORDS} ({_LIST})")

_FORMATS = {
    name: re.compile(pattern)
    for name, pattern in {
        "JSON": r"(?i)\b(?:in|as|valid|output|return|with)(?: an?| the)?(?: valid| single)? json\b",
        "a bulleted list": r"(?i)\b(?:bullet points?|bulleted list|bullet list)\b",
        "a numbered list": r"(?i)\bnumbered (?:list|steps)\b",
        "a table": r"(?i)\b(?:as|in) an? (?:markdown )?table\b",
    }.items()
}
_LINES = {
    "a bulleted list": r"(?m)^\s*[-*•+]\s+\S",
    "a numbered list": r"(?m)^\s*\d+[.)]\s+\S",
    "a table": r"(?m)^\s*\|.*\|",
}
_NEGATED = re.compile(r"(?i)\b(?:no|not|don't|without|avoid|never)\b[^.?!\n]{0,25}$")
_REFUSES = re.compile(
    r"(?i)\bi(?:'m| am) (?:sorry|afraid),? (?:but )?i (?:can|won)"
    r"|\bi (?:can't|cannot|can not|won't|will not|must decline to) "
    r"(?:help|assist|comply|provide|do (?:that|this)|answer|write|give)\b"
    r"|\bi(?:'m| am) (?:not able|unable) to\b|\bas an ai\b[^.]{0,30}\bi\b"
)
_STRAIGHT = {ord(curly): straight for curly, straight in zip("“”\u2018’", "\"\"''", strict=True)}
_ENDS = ".!?…。\uff01\uff1f"
_SENTENCE = re.compile(rf"[^\s{_ENDS}][^{_ENDS}]*(?:[{_ENDS}]+(?=\D|$)|$)")


@dataclass(frozen=True)
class Finding:
    """What a gate found, and why."""

    passed: bool
    reason: str


def read_request(messages: Sequence[Mapping[str, str]]) -> str:
    """The text that may ask something of the form of the next response: the messages of the system
    and the last one, with straight quotation marks."""
    last = len(messages) - 1
    kept = [m["content"] for i, m in enumerate(messages) if i == last or m["role"] == "system"]
    return "\n\n".join(kept).translate(_STRAIGHT)


def check_not_empty(_request: str, response: str) -> Finding | None:
    """Whether there is a letter or a digit at all."""
    passed = any(ch.isalnum() for ch in response)
    return Finding(passed, "says something" if passed else "says nothing")


def check_script(request: str, response: str) -> Finding | None:
    """Whether at least half of the letters are of the script of the language asked for. Languages
    that share a script are not told apart."""
    names = {name.lower() for name in _LANGUAGE.findall(request)}
    wanted = {SCRIPTS[name] for name in names}
    letters = [ch for ch in response if ch.isalpha()]
    if len(wanted) != 1 or not letters:
        return None
    (scripts,) = wanted
    inside = sum(unicodedata.name(ch, "").startswith(scripts) for ch in letters)
    share = inside / len(letters)
    return Finding(share >= 0.5, f"{share:.0%} of its letters are {'/'.join(sorted(names))}")


def check_length(request: str, response: str) -> Finding | None:
    """Whether the response keeps the limits stated in words, sentences, characters, lines,
    paragraphs or bullet points."""
    limits = _find_limits(request)
    if not limits:
        return None
    broken = [
        f"{count} {unit}s, asked for {low} to {'any' if high is None else high}"
        for unit, low, high in limits
        if (count := count_units(response, unit)) < low or (high is not None and count > high)
    ]
    return Finding(not broken, "; ".join(broken) or "keeps the stated length")


def check_format(request: str, response: str) -> Finding | None:
    """Whether the response has the one format that the request asks for."""
    asked = [
        name
        for name, pattern in _FORMATS.items()
        if (found := pattern.search(request)) and not _NEGATED.search(request[: found.start()])
    ]
    if len(asked) != 1:
        return None
    return Finding(_has_format(asked[0], response), f"asked for {asked[0]}")


def check_must_include(request: str, response: str) -> Finding | None:
    """Whether the quoted words that the request wants are there, and those that it bans are not."""
    banned = [word for found in _BANNED.finditer(request) for word in _read_list(found[1])]
    free = _BANNED.sub("", request)
    wanted = [word for found in _WANTED.finditer(free) for word in _read_list(found[1])]
    if not banned and not wanted:
        return None
    missing = [word for word in wanted if not contains(response, word)]
    present = [word for word in banned if contains(response, word)]
    faults = [f"lacks {word!r}" for word in missing] + [f"has {word!r}" for word in present]
    return Finding(not faults, "; ".join(faults) or "has the words asked for")


def check_no_refusal(_request: str, response: str) -> Finding | None:
    """Whether the response does not open by declining (a phrase in its first 200 characters)."""
    passed = _REFUSES.search(response[:200].translate(_STRAIGHT)) is None
    return Finding(passed, "does not decline" if passed else "opens by declining")


Gate = Callable[[str, str], Finding | None]
GATES: Mapping[str, Gate] = {
    "not_empty": check_not_empty,
    "script": check_script,
    "length": check_length,
    "format": check_format,
    "must_include": check_must_include,
    "no_refusal": check_no_refusal,
}


def count_units(text: str, unit: str) -> int:
    """How many words, sentences, characters, lines, paragraphs or bullet points a text has."""
    if unit == "word":
        return len(re.findall(r"\w[\w’'-]*", text))
    if unit == "sentence":
        return len(_SENTENCE.findall(text))
    if unit == "character":
        return len(text.strip())
    if unit == "paragraph":
        return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text))
    if unit == "bullet point":
        return len(re.findall(_LINES["a bulleted list"], text))
    return sum(bool(line.strip()) for line in text.splitlines())


def contains(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as whole words, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _find_limits(request: str) -> list[tuple[str, int, int | None]]:
    """(unit, least, most) of each stated limit."""
    limits: list[tuple[str, int, int | None]] = []
    for low, high, unit in _BETWEEN.findall(request):
        limits.append((unit.lower(), _number(low), _number(high)))
    for pattern in (_MOST, _OR_LESS):
        limits += [(unit.lower(), 0, _number(n)) for n, unit in pattern.findall(request)]
    limits += [(unit.lower(), 0, _number(n) - 1) for n, unit in _UNDER.findall(request)]
    limits += [(unit.lower(), _number(n), None) for n, unit in _LEAST.findall(request)]
    for pattern in (_EXACT, _IN):
        limits += [(u.lower(), _number(n), _number(n)) for n, u in pattern.findall(request)]
    return limits


def _number(text: str) -> int:
    return int(text) if text.isdigit() else NUMBERS[text.lower()]


def _read_list(text: str) -> list[str]:
    return re.findall(_QUOTED, text)


def _has_format(name: str, response: str) -> bool:
    if name == "JSON":
        fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)```\s*", response, re.DOTALL)
        try:
            return isinstance(json.loads(fenced[1] if fenced else response), dict | list)
        except ValueError:
            return False
    return len(re.findall(_LINES[name], response)) >= 2
