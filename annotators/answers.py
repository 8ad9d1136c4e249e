"""Finding the final answer inside a response, and a reference answer amid its words."""

from __future__ import annotations

import re

_TAGGED = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE)
_STATED = re.compile(
    r"(?:answer|result|solution)[\s*]*(?:(?:is|are)\b|:|=)[\s*:]*(.+)", re.IGNORECASE
)
_SENTENCE = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the|there|this|that|it)\b.*\b(?:is|are|equals)\s+(.+)",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?:(?<![\w)])-)?(?<![^\W_])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![^\W_])|[^\W_]+"
)
_MARKS = "*$`\"'"


def find_answer(content: str) -> str:
    """The final answer of a response: the last `<answer>` element, else the last `\\boxed{}`, else
    what follows the last "answer is" (or "result", "solution"), else the last line, and of a line
    such as "The sum is 3." what it says. Without a full stop and marks of emphasis; empty where
    the response is."""
    tagged = _TAGGED.findall(content)
    if tagged:
        return _trim(tagged[-1])
    boxed = find_boxed(content)
    if boxed is not None:
        return boxed
    stated = _STATED.findall(content)
    if stated:
        return _trim(stated[-1])
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    said = _SENTENCE.fullmatch(lines[-1]) if lines else None
    return _trim(said[1] if said else lines[-1]) if lines else ""


def find_boxed(content: str) -> str | None:
    """The inside of the last `\\boxed{...}`, braces balanced; None where there is none."""
    start = content.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for place in range(begin - 1, len(content)):
        depth += {"{": 1, "}": -1}.get(content[place], 0)
        if depth == 0:
            return content[begin:place]
    return None


def is_answer(content: str, answer: str) -> bool:
    """Whether a response is `answer` and nothing else, but for emphasis and a full stop."""
    return bool(_trim(answer)) and _trim(content) == _trim(answer)


def holds_answer(content: str, answer: str) -> bool:
    """Whether the words and numbers of `answer` stand in the response, whole and in a row,
    whatever the case, the punctuation and the form of a number (1,000.0 is 1000).

    Where the response marks its final answer (`<answer>`, `\\boxed{}`), only what stands from the
    last mark on counts: what it names on the way there is not its answer.
    """
    tags = list(_TAGGED.finditer(content))
    start = tags[-1].start() if tags else max(content.rfind("\\boxed{"), 0)
    wanted, found = _list_words(answer), _list_words(content[start:])
    return bool(wanted) and any(
        found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1)
    )


def _list_words(text: str) -> list[str]:
    words = []
    for word in _WORD.findall(text.casefold()):
        number = word.replace(",", "")
        words.append(number.rstrip("0").rstrip(".") if "." in number else number)
    return words


def _trim(text: str) -> str:
    text = text.strip().strip(_MARKS).strip()
    return text.removesuffix(".").strip().strip(_MARKS).strip()
