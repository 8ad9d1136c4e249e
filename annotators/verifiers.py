"""Verifiers: a response against a reference answer, scored outside this process."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engines.assets import assets_folder

VERSION = 3
"""Raised whenever a scorer may say something else of the same response: then all are scored anew,
and what an older version said no longer counts.

2: single lines are trimmed, and a response that holds the reference amid other text is unscored.
3: a response that is the reference and nothing else is right, also where that is a sentence.
"""
VERIFIERS, VERSION_MARK = "verifier:", f"@{VERSION}"
ANNOTATOR = f"{VERIFIERS}{{}}{VERSION_MARK}"
"""The annotator of a verdict, made from the verifier's name."""
START_SECONDS = 120.0
ITEM_SECONDS = 20.0
TIMED_OUT, DIED = "the scorer timed out", "the scorer died"
"""How the reasons of verdicts begin that say more of the machine than of the response."""


@dataclass(frozen=True)
class Verdict:
    """A scorer's number in [0, 1], or the reason why there is none (then `score` is None)."""

    score: float | None
    reason: str | None
    seconds: float


@dataclass(frozen=True)
class Check:
    """What a scorer needs: its name, its entry (JSON) and the response's text."""

    verifier: str
    entry: str
    content: str


def verify_responses(
    checks: Iterable[Check], item_seconds: float = ITEM_SECONDS
) -> Iterator[Verdict]:
    """Score each check in order; a scorer that raises, hangs or dies gives a verdict with a
    reason and stops nothing."""
    scorer: subprocess.Popen[bytes] | None = None
    try:
        for check in checks:
            fresh = scorer is None or scorer.poll() is not None
            if scorer is None or fresh:
                scorer = _start_scorer()
            started = time.monotonic()
            line = _ask(scorer, check, item_seconds + (START_SECONDS if fresh else 0.0))
            seconds = time.monotonic() - started
            if line is None:
                scorer.kill()
                code = scorer.wait()
                died = seconds < item_seconds
                reason = f"{DIED} ({code})" if died else TIMED_OUT
                scorer = None
                yield Verdict(None, reason, seconds)
                continue
            answer = json.loads(line)
            yield Verdict(answer.get("score"), answer.get("error"), seconds)
    finally:
        if scorer is not None:
            scorer.kill()
            scorer.wait()


def _start_scorer() -> subprocess.Popen[bytes]:
    """A scorer that sees no secrets: only the variables that Python itself needs."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([str(assets_folder().parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "annotators.scorer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _ask(scorer: subprocess.Popen[bytes], check: Check, limit: float) -> bytes | None:
    """One line to the scorer and one line back; None where none comes in time."""
    assert scorer.stdin is not None
    assert scorer.stdout is not None
    item = {"verifier": check.verifier, "entry": check.entry, "content": check.content}
    try:
        scorer.stdin.write(json.dumps(item).encode() + b"\n")
        scorer.stdin.flush()
    except BrokenPipeError:
        return None
    ready, _, _ = select.select([scorer.stdout], [], [], limit)
    line = scorer.stdout.readline() if ready else b""
    return line or None
