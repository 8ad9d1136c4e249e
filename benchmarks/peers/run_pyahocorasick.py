"""pyahocorasick finding the rows that hold 13 words in a row of a prompt.

`python run_pyahocorasick.py ROWS PROMPTS OUTPUT`: an automaton of every run of 13 words of the
prompts, over the lower-cased words of each row with single spaces between. What it prints is said
in `meter.py`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import ahocorasick
import pyarrow as pa
import pyarrow.parquet as pq
from meter import count_seconds, read_peak, read_rows

RUN = 13
FEW = 2_000
WORD = re.compile(r"[^\W_]+")


def find(rows: tuple[list[int], list[str]], prompts: list[str]) -> Iterator[int]:
    """The ids of the rows with a hit."""
    automaton = ahocorasick.Automaton()
    for prompt in prompts:
        words = WORD.findall(prompt.lower())
        for i in range(len(words) - RUN + 1):
            automaton.add_word(f" {' '.join(words[i : i + RUN])} ", 1)
    automaton.make_automaton()
    for number, text in zip(*rows, strict=True):
        line = f" {' '.join(WORD.findall(text.lower()))} "
        if next(automaton.iter(line), None) is not None:
            yield number


def main() -> None:
    """Measure."""
    source, asked, target = (Path(name) for name in sys.argv[1:4])
    prompts = pq.read_table(asked)["text"].to_pylist()
    ids, texts = read_rows(source)
    before = count_seconds()
    list(find((ids[:FEW], texts[:FEW]), prompts))
    between = count_seconds()
    found = list(find(read_rows(source), prompts))
    after = count_seconds()
    pq.write_table(pa.table({"id": pa.array(found, pa.int64())}), target)
    print(json.dumps({"few": between - before, "all": after - between, "peak": read_peak()}))


if __name__ == "__main__":
    main()
