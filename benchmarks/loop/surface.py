"""What can be counted on the surface of a response: layout, punctuation, digits, apologies, length.

A vector of meaning alone tells little of which response a judge prefers; with these the probe has
something to learn, and something to lose to noise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
COUNTED = ("\n\n", "\n", "**", "?", "!", ":", ",", "```", "#")
BULLET = re.compile(r"^\s*[-*•]", re.MULTILINE)
NUMBERED = re.compile(r"^\s*\d+[.)]", re.MULTILINE)
SORRY = re.compile(r"\b(sorry|cannot|can't|as an ai|unable)\b", re.IGNORECASE)
SCALE = 0.2  # of the root mean square of each, beside unit vectors


def measure_surface(texts: Sequence[str]) -> Array:
    """(texts, measures): logarithms of counts, and shares."""
    return np.array([_measure(text) for text in texts])


def scale_surface(apart: Array) -> Array:
    """Differences of two responses' measures, each with a root mean square of `SCALE`."""
    size = np.sqrt((apart**2).mean(axis=0))
    return SCALE * apart / np.where(size > 0, size, 1.0)


def _measure(text: str) -> list[float]:
    words = text.split()
    counts = [text.count(mark) for mark in COUNTED]
    counts += [len(BULLET.findall(text)), len(NUMBERED.findall(text))]
    counts += [sum(sign.isdigit() for sign in text), len(text)]
    return [
        *np.log1p(counts),
        len(set(words)) / max(len(words), 1),
        sum(map(len, words)) / max(len(words), 1),
        float(text[-1:] in tuple(".!?\"')")),
        float(bool(SORRY.search(text))),
    ]
