"""Verdicts in the lake: each response is scored once a version, and what a busy machine cost is
tried again when asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl
import pytest

from annotators.verifiers import ANNOTATOR, DIED, TIMED_OUT, Check, Verdict
from pipelines.label import verifying
from pipelines.label.labelling import find_judgments
from pipelines.label.verifying import verify
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import Run, new_run
from tests.conftest import make_recipe

SHOWN = {"right": 1.0, "wrong": 0.0, "late": TIMED_OUT, "dead": f"{DIED} (-9)", "odd": "ValueError"}
PROMPTS = pl.DataFrame(
    {"prompt_id": ["p"], "verifier": ["math_verify"], "verifier_data": [json.dumps({"answer": 1})]}
)
ROLLOUTS = pl.DataFrame({"prompt_id": "p", "response_id": list(SHOWN), "content": list(SHOWN)})


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the scorer was given; it says what `SHOWN` says."""
    seen: list[str] = []
    set_scorer(monkeypatch, seen, SHOWN.__getitem__)
    return seen


def set_scorer(
    monkeypatch: pytest.MonkeyPatch, seen: list[str], say: Callable[[str], float | str]
) -> None:
    def score(checks: Iterable[Check]) -> Iterator[Verdict]:
        for check in checks:
            seen.append(check.content)
            said = say(check.content)
            is_score = isinstance(said, float)
            yield Verdict(said if is_score else None, None if is_score else str(said), 0.1)

    monkeypatch.setattr(verifying, "verify_responses", score)


def run_verify(lake: Lake, run: Run | None = None) -> dict[str, int]:
    summary = verify(lake, run or new_run(), PROMPTS, ROLLOUTS)
    assert (summary.rows_in, summary.kept) == (len(SHOWN), len(SHOWN))
    return dict(summary.extra)


def test_every_response_is_scored_once_and_what_is_unscored_is_counted(
    lake: Lake, scored: list[str]
) -> None:
    assert run_verify(lake) == {"made": 5, "invalid": 3}
    assert run_verify(lake) == {"made": 0, "invalid": 3}
    assert sorted(scored) == sorted(SHOWN)
    rows = lake.query("SELECT response_a, annotator, score, valid, reason FROM judgments")
    assert set(rows["annotator"]) == {ANNOTATOR.format("math_verify")}
    for response, _, score, valid, reason in rows.iter_rows():
        assert SHOWN[response] == (score if valid else reason)


def test_what_timed_out_or_was_killed_is_tried_again_once_a_run_when_asked(
    lake: Lake, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_verify(lake)
    scored.clear()
    again = new_run(retry_failed=True)
    assert run_verify(lake, again) == {"made": 2, "invalid": 3}
    assert run_verify(lake, again) == {"made": 0, "invalid": 3}  # the same run does not insist
    assert sorted(scored) == ["dead", "late"]
    set_scorer(monkeypatch, scored, lambda content: 1.0)
    assert run_verify(lake, new_run(retry_failed=True)) == {"made": 2, "invalid": 1}
    assert run_verify(lake, new_run(retry_failed=True)) == {"made": 0, "invalid": 1}
    late = lake.query(
        "SELECT judgment_id, score FROM judgments WHERE response_a = 'late' ORDER BY created_at"
    )
    assert late["score"].to_list() == [None, None, 1.0]
    assert late["judgment_id"].n_unique() == 3


def test_a_changed_scorer_makes_new_verdicts(
    lake: Lake, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_verify(lake)
    monkeypatch.setattr(verifying, "ANNOTATOR", "verifier:{}@next")
    set_scorer(monkeypatch, scored, lambda content: 0.0)
    assert run_verify(lake) == {"made": 5, "invalid": 0}
    assert run_verify(lake) == {"made": 0, "invalid": 0}
    said = lake.query("SELECT annotator, count(*) AS n FROM judgments GROUP BY ALL ORDER BY ALL")
    assert said["n"].to_list() == [5, 5]
    pairs = pl.DataFrame({"response_a": ["right"], "response_b": ["wrong"]})
    found = find_judgments(lake, make_recipe(), [], pairs)
    assert set(found["annotator"]) == {ANNOTATOR.format("math_verify")}
    assert dict(found.select("response_a", "score").iter_rows()) == {"right": 1.0, "wrong": 0.0}
