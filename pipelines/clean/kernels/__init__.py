"""Compiled passes over Arrow buffers of texts (numba): hashes of words, MinHash, bands, exact keys.

Nothing here knows the lake: arrays in, arrays out, no Python object a row. Importing a module of
this package imports numba (a third of a second), so whoever does not always need one imports it
inside a function.

Machine code is compiled at the first call (seconds) and kept under the Assay home, so that later
processes load it, wherever Assay itself is installed. numba recompiles a function whose own file
changed, not one that calls into a changed file: the folder is named by a hash of all sources here.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from engines.assets import assay_home


def _name_cache() -> Path:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    seal = hashlib.blake2b(digest_size=6)
    for source in sources:
        seal.update(source.read_bytes())
    return assay_home() / "kernels" / seal.hexdigest()


def _set_cache() -> None:
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(_name_cache())
        if "numba" in sys.modules:  # it read its settings when it was imported
            sys.modules["numba"].config.reload_config()


_set_cache()
