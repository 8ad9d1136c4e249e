"""What a person sees while stages work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

LINE_SECONDS = 10.0


class Console:
    """Writes progress to standard error, so that standard output stays the result."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._open = False

    def tell(self, line: str) -> None:
        """A line of its own."""
        if self._quiet:
            return
        self._end_bar()
        click.echo(line, err=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Where a stage stands."""
        if self._quiet or total <= 0:
            return
        now = time.monotonic()
        if self._terminal:
            filled = int(30 * done / total)
            bar = f"{'█' * filled}{'·' * (30 - filled)}"
            click.echo(f"\r{stage:<18} {bar} {done}/{total}", nl=False, err=True)
            self._open = done < total
            if not self._open:
                click.echo("", err=True)
        elif done == total or now - self._last >= LINE_SECONDS:
            self._last = now
            click.echo(f"{stage}: {done}/{total}", err=True)

    def summary(self, summary: Any) -> None:
        """The line of a finished stage."""
        self.tell(describe_summary(summary.to_json()))

    def _end_bar(self) -> None:
        if self._open:
            click.echo("", err=True)
            self._open = False


def describe_summary(row: dict[str, Any]) -> str:
    """A stage's counts in a line."""
    parts = [f"{row['stage']:<17} {row['rows_in']:>6} in {row['kept']:>6} kept"]
    for kind in ("dropped", "quarantined"):
        if sum(row[kind].values()):
            named = ", ".join(f"{name} {n}" for name, n in row[kind].items() if n)
            parts.append(f"{kind}: {named}")
    if row["flipped"]:
        parts.append(f"flipped: {row['flipped']}")
    if row["to_review"]:
        parts.append(f"to people: {row['to_review']}")
    if row.get("calls"):
        parts.append(f"calls: {row['calls']} ({row['tokens_out']} tokens out)")
    if row.get("failures"):
        parts.append(f"failed: {', '.join(f'{k} {v}' for k, v in row['failures'].items())}")
    if row.get("invalid"):
        parts.append(f"invalid: {row['invalid']}")
    parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts)


def print_json(value: Any) -> None:
    """One object on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))
