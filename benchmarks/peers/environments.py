"""An environment for each tool that is measured beside Assay, under the Assay home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engines.assets import assay_home

NEEDS = {
    "daft": ["daft"],
    "rensa": ["rensa"],
    "gaoya": ["gaoya"],
    "semhash": ["semhash"],
    "datasketch": ["datasketch"],
    "text-dedup": ["text-dedup"],
    "datatrove": ["datatrove[processing]", "orjson", "spacy"],
    "data-juicer": ["py-data-juicer", "aiohttp"],  # imports the second without asking for it
    "pyahocorasick": ["pyahocorasick"],
}


class Missing(Exception):
    """A tool that cannot be installed here; says why."""


def find_python(tool: str, timeout: float = 1_800) -> Path:
    """The Python of the tool's own environment, which is made where there is none.

    Raises:
        Missing: pip cannot install it; the message is the last thing that pip said.
    """
    place = assay_home() / "peers" / tool
    python, ready = place / "bin" / "python", place / ".ready"
    if ready.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "pyarrow", *NEEDS[tool]]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Missing(f"not installed within {timeout:.0f} s") from None
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1])
    ready.touch()
    return python


def read_version(tool: str, python: Path) -> str:
    """The installed version of a tool."""
    package = NEEDS[tool][0].split("[")[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
