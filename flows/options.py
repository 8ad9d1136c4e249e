"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def _check_place(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """A URL with a password is refused before anything can keep or print it."""
    if "://" in value:
        from pipelines.lake.places import parse_place

        parse_place(value)
    return value


LAKE = click.option(
    "--lake",
    default="lake",
    show_default=True,
    envvar="ASSAY_LAKE",
    callback=_check_place,
    help="The lake: a folder, duckdb:FOLDER, or postgresql://…?data_path=FOLDER.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def command_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--lake` and `--json`, which every command takes."""
    return LAKE(JSON(function))


def show_example(text: str) -> str:
    """The epilogue of a help page: a worked example."""
    return f"\b\nExample:\n  {text}"
