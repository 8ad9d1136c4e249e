"""Where a lake lives: its URL, how DuckDB attaches it, and what to say when that fails."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import duckdb

from schemas.errors import AssayError

SECRETS = ("password", "sslpassword")
HOST = re.compile(r"(\[[^]]*]|[^:]*)(:\d*)?")


class LakeError(AssayError):
    """The lake cannot be used; the message says where it is, why, and what to do."""


class LakeMissing(LakeError):
    """There is no lake where one is to be read."""


@dataclass(frozen=True)
class Place:
    """Where a lake lives: the DuckLake ATTACH target, its data folder and its lock place.

    `folder` and `file` are those of a local catalogue, `postgres_url` is a team's.
    """

    shown: str
    attach: str
    data_path: str
    extensions: tuple[str, ...]
    folder: Path | None = None
    file: Path | None = None
    postgres_url: str | None = None


def parse_place(url: str) -> Place:
    """Read a `--lake` value.

    A folder means a SQLite catalogue inside it (several local processes may share it);
    `duckdb:FOLDER` a DuckDB-file catalogue (one process at a time); `postgresql://...` with
    `?data_path=FOLDER` a team's catalogue and the folder of its Parquet files, which all of its
    machines see (a bucket is not for it: no DuckDB extension that reads one ships with Assay). The
    password is never in the URL (which is printed and stored): libpq takes it from PGPASSWORD or
    ~/.pgpass.

    Raises:
        LakeError: a PostgreSQL URL with a password or without data_path, or an unknown scheme.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return _parse_postgres(url)
    scheme, _, rest = url.partition(":")
    extensions: tuple[str, ...] = ("ducklake",)
    if rest and scheme == "duckdb":
        folder, name, kind = Path(rest), "catalog.ducklake", ""
    elif rest and re.fullmatch(r"[a-z][a-z0-9+]+", scheme):
        raise LakeError(f"{url}: a lake is a folder, duckdb:FOLDER or postgresql://...")
    else:
        folder, name, kind = Path(url), "catalog.sqlite", "sqlite:"
        extensions = ("ducklake", "sqlite_scanner")
        if (folder / "catalog.ducklake").exists():
            return parse_place(f"duckdb:{url}")
    folder = folder.absolute()
    file = folder / name
    return Place(url, f"ducklake:{kind}{file}", f"{folder / 'data'}/", extensions, folder, file)


def _parse_postgres(url: str) -> Place:
    if _holds_password(url):
        raise LakeError(
            "the PostgreSQL URL of the lake holds a password (or cannot be read), and the URL is "
            "printed and stored: leave the password out (postgresql://USER@HOST/DB?data_path="
            "FOLDER) and give it in the environment variable PGPASSWORD or in ~/.pgpass"
        )
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    data_path = query.pop("data_path", None)
    if data_path is None:
        raise LakeError(
            f"{url}: say where the Parquet files go, with ?data_path=FOLDER, a folder that all "
            "machines see"
        )
    clean = urlunsplit(parts._replace(query=urlencode(query)))
    extensions = ("ducklake", "postgres_scanner")
    return Place(url, f"ducklake:postgres:{clean}", data_path, extensions, postgres_url=clean)


def _holds_password(url: str) -> bool:
    """Whether a URL holds a password, or may hold one because it cannot be taken apart."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    hosts = parts.netloc.rpartition("@")[2].split(",")
    # a password with a slash in it ends the host early: look at all that stands before an @
    before_host = re.match(r"\w+://[^?@]*:[^?]+@", url)
    secret = any(name in SECRETS for name, _ in parse_qsl(parts.query))
    return bool(before_host) or secret or not all(map(HOST.fullmatch, hosts))


def find_extension(name: str) -> Path:
    """The file of a DuckDB extension that a PyPI package ships, so that no network is needed.

    Raises:
        LakeError: the package is missing or is for another DuckDB version.
    """
    package = f"duckdb_extension_{name}"
    mend = f"pip install {package.replace('_', '-')}=={duckdb.__version__}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LakeError(f"the DuckDB extension {name} is not installed: {mend}")
    folder = Path(spec.submodule_search_locations[0]) / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{name}.duckdb_extension"
    if not file.exists():
        raise LakeError(f"the extension {name} is not for DuckDB {duckdb.__version__}: {mend}")
    return file


def make_attach_sql(place: Place, name: str, *options: str) -> str:
    """The ATTACH statement of a lake, with further DuckLake `options`."""

    def quote(text: str) -> str:
        return text.replace("'", "''")

    every = [f"DATA_PATH '{quote(place.data_path)}'", "DATA_INLINING_ROW_LIMIT 0", *options]
    if place.folder is not None:
        every.append("OVERRIDE_DATA_PATH true")  # a folder may be moved
    if place.attach.startswith("ducklake:sqlite:"):
        every += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 30000"]
    return f"ATTACH '{quote(place.attach)}' AS {name} ({', '.join(every)})"


def explain_missing(place: Place) -> LakeMissing:
    """That there is no lake where one is to be read."""
    return LakeMissing(
        f"{place.shown}: no lake there; check --lake (assay run or assay import makes one)"
    )


def is_missing(error: duckdb.Error) -> bool:
    """Whether an ATTACH failed for there is no lake (not because it could not be reached)."""
    return "creating a new ducklake is explicitly disabled" in str(error).lower()


def is_transient(error: duckdb.Error) -> bool:
    """Whether the same statement may succeed in a moment."""
    text = str(error).lower()
    return any(word in text for word in ("conflict", "locked", "busy", "could not serialize"))


def explain(error: Exception, place: Place) -> LakeError:
    """What DuckDB, SQLite, PostgreSQL or the system says of a lake, with the place and the mend."""
    text = " ".join(str(error).split())
    low = text.replace(str(place.folder), "").lower()
    if "no space left" in low or "disk full" in low or "disk is full" in low:
        return LakeError(
            f"{place.shown}: the disk is full; what was committed is safe. Free some space and "
            "run the same command again"
        )
    if isinstance(error, OSError) or "unable to open database" in low or "readonly" in low:
        return LakeError(
            f"{place.shown}: this folder cannot be written: {text}; make it yours to write, or "
            "give another with --lake"
        )
    if place.postgres_url is not None and ("connect" in low or "resolve host" in low):
        return LakeError(
            f"{place.shown}: PostgreSQL cannot be reached: {text}; check that it runs, the URL, "
            "and the password in PGPASSWORD or ~/.pgpass"
        )
    if "lock" in low:
        return LakeError(f"{place.shown}: another process holds the catalogue: {text}")
    if "version" in low and "ducklake" in low:
        return LakeError(
            f"{place.shown}: this catalogue is of another DuckLake format; install a newer Assay "
            f"({text})"
        )
    return LakeError(f"{place.shown}: {text}")
