"""Scores out of free text: what a judge wrote that was asked for numbers, or for one of a few
options, and answered in prose.

Reading is tolerant of form and strict about sense. Where the text names no score for a response, a
score outside the scale, or two different ones in equally good places, nothing is read, and the
reason says why: an unreadable answer is unscored, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = r"-?\d+(?:\.\d+)?"
_OUT_OF = r"(?:\s*/\s*\d+|\s+out\s+of\s+\d+)?"
_LIST = re.compile(rf"[(\[]\s*({NUMBER}{_OUT_OF}(?:\s*[,;]\s*{NUMBER}{_OUT_OF})*)\s*[)\]]")
_BARE = re.compile(rf"{NUMBER}{_OUT_OF}(?:[\s,;|]+{NUMBER}{_OUT_OF})*")
_NUMBER = re.compile(rf"({NUMBER}){_OUT_OF}")
_NAME = r"(?:assistant|response|candidate|answer|model)"
_COLON = re.compile(
    rf"(?:^|[,;(])\W*{_NAME}\s*#?(\d+|[A-Z])(?:'s\s+score)?\W*[:=]\W*({NUMBER})\b", re.I | re.M
)
_GIVEN = re.compile(
    rf"\b{_NAME}\s*#?(\d+|[A-Z])\W{{1,3}}(?:gets\s+|receives\s+)?(?:a|the)\s+score\s+of\W*({NUMBER})",
    re.I,
)
_HEADING = re.compile(r"(?:^\W*(?:final\s+)?scores?\W*:|\bscores?\W*:\s*$)", re.I | re.M)
_ANNOUNCED = re.compile(r"\b(?:scores?|tuple|output|ratings?)\b", re.I)


@dataclass(frozen=True)
class Scores:
    """`values` in the order of the responses, or None and the `reason`."""

    values: tuple[float, ...] | None
    reason: str | None = None


@dataclass(frozen=True)
class Option:
    """`value`, one of the options as they were given, or None and the `reason`."""

    value: str | None
    reason: str | None = None


def parse_scores(text: str, count: int = 2, low: float = 0.0, high: float = 10.0) -> Scores:
    """The scores of `count` responses.

    Places are tried in this order, and the first that holds `count` numbers decides:

    1. a list announced as scores, a tuple or output (`scores: [7, 9]`, `the tuple is (7, 9)`), or
       alone on the last line; the last one of those counts;
    2. bare numbers alone on the first line, then on the last (`7 9`, `7/10, 9/10`);
    3. one number for each response by its name (`Assistant 1: 7 (...)`, `Response B: 9/10`), after
       the last heading `Scores:` where there is one.

    `7/10` and `7 out of 10` are 7. Lists elsewhere (coordinates, say) are not taken for scores.

    Args:
        text: the judge's answer.
        count: how many responses were shown.
        low, high: the ends of the scale.
    """
    if not text.strip():
        return Scores(None, "the answer is empty")
    for read in (_read_lists, _read_lines, _read_names):
        values = read(text, count)
        if isinstance(values, str):
            return Scores(None, values)
        if values:
            wrong = [value for value in values if not low <= value <= high]
            if wrong:
                return Scores(None, f"{wrong[0]:g} is not on the scale from {low:g} to {high:g}")
            return Scores(tuple(values))
    return Scores(None, f"no place holds {count} scores")


def parse_option(text: str, options: Sequence[str]) -> Option:
    """Which of a few options (`1`, `2`, `3`; `A`, `B`, `tie`) an answer chose.

    The last line decides where it is an option and nothing else, then the first line. Failing
    these, an option after "choose", "option", "verdict", "winner" or "answer is" counts, if the
    text says so of only one.
    """
    by_text = {option.casefold(): option for option in options}
    lines = [line.strip(" \t*.#`'\"()[]").casefold() for line in text.strip().splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return Option(None, "the answer is empty")
    for line in (lines[-1], lines[0]):
        if line in by_text:
            return Option(by_text[line])
    names = "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
    stated = re.compile(
        rf"\b(?:choose|chosen|option|verdict|winner|answer\s+is)(?:\s+(?:is|option|number))?"
        rf"\s*:?\s*\W{{0,3}}({names})\b",
        re.IGNORECASE,
    )
    found = {by_text[said.casefold()] for said in stated.findall(text)}
    if len(found) == 1:
        return Option(found.pop())
    if found:
        return Option(None, f"the answer names {len(found)} options: {', '.join(sorted(found))}")
    return Option(None, "no option is named where one is chosen")


def _read_lists(text: str, count: int) -> list[float] | str | None:
    """The last list of `count` numbers that is announced on its line, or ends the text."""
    lines = text.strip().splitlines()
    found = None
    for at, line in enumerate(lines):
        for match in _LIST.finditer(line):
            numbers = _find_numbers(match[1])
            before, after = line[: match.start()], line[match.end() :]
            alone = at == len(lines) - 1 and not re.search(r"\w", before + after)
            if len(numbers) == count and (alone or _ANNOUNCED.search(before)):
                found = numbers
    return found


def _read_lines(text: str, count: int) -> list[float] | str | None:
    lines = [line.strip(" \t*`") for line in text.strip().splitlines()]
    for line in (lines[0], lines[-1]):
        if _BARE.fullmatch(line):
            numbers = _find_numbers(line)
            if len(numbers) == count:
                return numbers
    return None


def _read_names(text: str, count: int) -> list[float] | str | None:
    """What each name is given, after the last heading `Scores:` where there is one."""
    headings = list(_HEADING.finditer(text))
    text = text[headings[-1].end() :] if headings else text
    for pattern in (_COLON, _GIVEN):
        said: dict[int, set[float]] = {}
        for name, number in pattern.findall(text):
            place = int(name) - 1 if name.isdigit() else ord(name.upper()) - ord("A")
            said.setdefault(place, set()).add(float(number))
        if set(said) == set(range(count)):
            for place, numbers in said.items():
                if len(numbers) > 1:
                    both = " and ".join(f"{number:g}" for number in sorted(numbers))
                    return f"response {place + 1} is given {both}"
            return [said[place].pop() for place in range(count)]
    return None


def _find_numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]
