"""semhash: `SemHash.from_embeddings` with its own index (usearch), and `self_deduplicate`.

`python run_semhash.py VECTORS OUTPUT THRESHOLD`: OUTPUT gets the places that it would drop. What it
prints is said in `meter.py`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from meter import count_seconds, read_peak
from semhash import SemHash


class NoModel:
    """semhash wants an encoder; with vectors at hand it is never asked."""

    def encode(self, inputs: Any, **_: Any) -> Any:
        """Never called."""
        raise AssertionError(inputs)


def find(vectors: np.ndarray, threshold: float) -> list[int]:
    """The places of the vectors that are dropped."""
    records = [str(place) for place in range(len(vectors))]
    index = SemHash.from_embeddings(vectors, records, model=NoModel())
    return [int(row.record) for row in index.self_deduplicate(threshold).filtered]


def main() -> None:
    """Measure."""
    vectors = np.load(sys.argv[1])
    threshold = float(sys.argv[3])
    find(vectors[:200], threshold)
    ready = count_seconds()
    dropped = find(vectors, threshold)
    print(json.dumps({"all": count_seconds() - ready, "peak": read_peak()}))
    np.save(sys.argv[2], np.array(dropped, dtype=np.int64))


if __name__ == "__main__":
    main()
