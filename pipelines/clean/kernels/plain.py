"""Which characters normalisation leaves alone, so that a kernel may take their bytes as they are.

A character is plain where it is its own lower case and normal form (NFC), is not white space and
never joins with a neighbour: no mark, and no second part of a composition (UAX 15, "NFC quick
check" yes). A text of plain characters and ASCII alone is normalised but for ASCII's capitals and
white space. Only characters that this Python's Unicode knows are plain; the others go the long way.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.bits import BLOCK, count_zeros, find_address, load_byte, mark_high

END = 0x20000
JAMO = range(0x1161, 0x1200)  # vowels and finals, which join a syllable before them
UNKNOWN = ("Cn", "Co", "Cs")


@cache
def list_plain() -> NDArray[np.bool_]:
    """For each code point below 0x20000, whether it is plain (ASCII is)."""
    plain = np.zeros(END, dtype=np.bool_)
    seconds = set(JAMO)
    for code in range(END):
        parts = unicodedata.decomposition(chr(code))
        if parts and parts[0] != "<" and " " in parts:
            seconds.add(int(parts.split()[1], 16))
    for code in range(END):
        char = chr(code)
        plain[code] = code < 128 or (
            unicodedata.category(char) not in UNKNOWN
            and unicodedata.combining(char) == 0
            and code not in seconds
            and char.lower() == char
            and not char.isspace()
            and unicodedata.is_normalized("NFC", char)
        )
    return plain


@njit(nogil=True, cache=True)
def find_odd(data: Any, starts: Any, ends: Any, plain: Any) -> Any:
    """Which texts `data[start:end]` hold a character that is not plain (bool, a text each)."""
    odd = np.zeros(starts.size, dtype=np.bool_)
    base = find_address(data)
    for row in range(starts.size):
        at = skip_ascii(base, starts[row], ends[row])
        while at < ends[row]:
            code, size = decode(base + at, ends[row] - at)
            if code < 0 or code >= plain.size or not plain[code]:
                odd[row] = True
                break
            at = skip_ascii(base, at + size, ends[row])
    return odd


@njit(forceinline=True)
def skip_ascii(base: int, at: int, end: int) -> int:
    """Where the next byte that is not ASCII stands, or `end`."""
    while at + BLOCK <= end:
        high = mark_high(base + at)
        if high != 0:
            return at + count_zeros(high)
        at += BLOCK
    while at < end and load_byte(base + at) < 128:
        at += 1
    return at


@njit(forceinline=True)
def decode(address: int, left: int) -> tuple[int, int]:
    """A character's code point and size in bytes; -1 where the bytes are no UTF-8."""
    byte = np.int64(load_byte(address))
    more = 1 if byte < 0xE0 else (2 if byte < 0xF0 else 3)
    if byte < 0xC0 or more + 1 > left:
        return -1, 1
    code = byte & (0x3F >> more)
    for i in range(more):
        code = (code << 6) | (np.int64(load_byte(address + 1 + i)) & 0x3F)
    return code, more + 1
