"""Where things lie: the assets that ship with Assay, and the folder it keeps its own things in."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from schemas.errors import AssayError


class AssetMissing(AssayError):
    """A file that a recipe names and nobody ships."""


def assets_folder() -> Path:
    """`data/` of a checkout, or its copy inside the installed wheel."""
    installed = Path(__file__).parent / "_assets"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "data"


def find_asset(name: str, base: Path | None = None) -> Path:
    """The file `name`: beside the recipe (`base`), else in the working directory, else among the
    shipped assets. So a recipe's own files are the same wherever it is run from.

    Raises:
        AssetMissing: in none of these places.
    """
    places = [*([base / name] if base else []), Path(name), assets_folder() / name]
    for place in places:
        if place.is_file():
            return place
    folder = (assets_folder() / name).parent
    near = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "nothing"
    raise AssetMissing(f"{name}: no such file, and {folder.name}/ ships only: {near}")


def hash_folder(folder: Path) -> str:
    """Which state a checkpoint folder is in: a hash of its files' names, sizes and times."""
    files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir())
    return hashlib.blake2b(json.dumps(files).encode(), digest_size=6).hexdigest()


def assay_home() -> Path:
    """The folder for environments, converted weights, service logs and the Prefect database.

    `ASSAY_HOME`, else `$XDG_CACHE_HOME/assay`, else `~/.cache/assay`.
    """
    given = os.environ.get("ASSAY_HOME")
    cache = os.environ.get("XDG_CACHE_HOME")
    home = Path(given) if given else (Path(cache) if cache else Path.home() / ".cache") / "assay"
    home.mkdir(parents=True, exist_ok=True)
    return home.absolute()
