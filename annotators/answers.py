"""Finding the final answer inside a response."""

from __future__ import annotations

import re

_TAGGED = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE)
_STATED = re.compile(r"(?:final\s+)?answer[\s*]*(?:is\b|:|=)[\s*:]*(.+)", re.IGNORECASE)


def find_answer(content: str) -> str:
    """The final answer of a response: the last `<answer>` element, else the last `\\boxed{}`, else
    what follows the last "answer is", else the last line. Empty where the response is."""
    tagged = _TAGGED.findall(content)
    if tagged:
        return str(tagged[-1])
    boxed = find_boxed(content)
    if boxed is not None:
        return boxed
    stated = _STATED.findall(content)
    if stated:
        return _trim(stated[-1])
    lines = [line for line in content.splitlines() if line.strip()]
    return _trim(lines[-1]) if len(lines) > 1 else content.strip()


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


def _trim(text: str) -> str:
    text = text.strip().strip("*$").strip()
    return text.removesuffix(".").strip().strip("*$").strip()
