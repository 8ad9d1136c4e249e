"""The real pools' known traps (skipped where the pools are missing)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from pipelines.lake.catalogue import Lake
from pipelines.lake.layouts import ASSISTANT
from tests.pipelines.lake.pools import bring, count


def judgments_by_annotator(lake: Lake) -> dict[str, tuple[str, int, int, int]]:
    """Kind, judgments, of them ties, of them not valid."""
    rows = lake.query(
        "SELECT annotator, min(kind), count(*), sum(tie::INT)::BIGINT, "
        "sum((NOT valid)::INT)::BIGINT FROM judgments GROUP BY annotator"
    ).iter_rows()
    return {name: tuple(rest) for name, *rest in rows}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows", "differing", "prompts"),
    [("hh_harmless_base_test", 2312, 5, 2301), ("hh_helpful_test", 2352, 9, 2339)],
)
def test_hh(lake: Lake, realdata: Path, name: str, rows: int, differing: int, prompts: int) -> None:
    file = realdata / f"{name}.jsonl.gz"
    summary = bring(lake, file, name="hh")
    kept = rows - differing - 4
    assert (summary.rows_in, summary.kept) == (rows, kept)
    assert summary.quarantined == {"contexts differ": differing, "empty response": 4}
    assert summary.dropped == {"identical_responses": 0, "duplicate": 0}
    assert count(lake, "imports") == rows
    assert count(lake, "prompts") == prompts
    assert count(lake, "responses") == count(lake, "rollouts") == 2 * kept
    assert judgments_by_annotator(lake) == {"import:hh": ("import", kept, 0, 0)}
    # the texts of the file and the opinions of the lake, told apart by the text alone
    with gzip.open(file, "rt", encoding="utf-8") as handle:
        first = json.loads(handle.readline())
    better, worse = (first[key].rpartition(ASSISTANT)[2].strip() for key in ("chosen", "rejected"))
    row = lake.query(
        "SELECT p_a, a.content FROM judgments JOIN responses a ON response_a = a.response_id "
        "WHERE a.content IN (?, ?)",
        [better, worse],
    ).row(0)
    assert row == ((1.0, better) if row[1] == better else (0.0, worse))


@pytest.mark.realdata
def test_pandalm(lake: Lake, realdata: Path) -> None:
    summary = bring(lake, realdata / "pandalm_999x3.jsonl.gz", name="pandalm")
    assert summary.rows_in == count(lake, "imports") == 999
    # 6 booleans; 132 rows repeat a pair (two models gave one text), with opinions of their own
    assert summary.quarantined == {
        "response1 is a boolean, not text": 4,
        "response2 is a boolean, not text": 2,
    }
    assert summary.dropped == {"identical_responses": 0, "duplicate": 132}
    assert summary.kept == summary.extra["pairs"] == 861
    assert count(lake, "prompts") == 170
    assert judgments_by_annotator(lake) == {
        "import:pandalm/annotator1": ("human", 993, 97, 0),
        "import:pandalm/annotator2": ("human", 993, 116, 0),
        "import:pandalm/annotator3": ("human", 993, 109, 0),
        "import:pandalm/judge_gpt35": ("llm", 993, 38, 24),
        "import:pandalm/judge_pandalm7b": ("llm", 993, 102, 0),
    }
    unread = lake.query("SELECT DISTINCT raw, reason FROM judgments WHERE NOT valid").rows()
    assert unread == [("garbage", "no verdict")]
    models = ("bloom-7b", "cerebras-gpt-6.7B", "llama-7b", "opt-7b", "pythia-6.9b")
    policies = {f"import:pandalm/{model}" for model in models}
    assert set(lake.query("SELECT policy FROM rollouts")["policy"]) == policies
    votes = lake.query(
        "SELECT count(DISTINCT p_a) AS verdicts, count(*) AS n FROM judgments "
        "WHERE kind = 'human' GROUP BY detail"
    )
    assert votes["n"].unique().to_list() == [3]
    with gzip.open(realdata / "pandalm_999x3.jsonl.gz", "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle]
    usable = [
        r for r in rows if isinstance(r["response1"], str) and isinstance(r["response2"], str)
    ]
    unanimous = sum(r["annotator1"] == r["annotator2"] == r["annotator3"] for r in usable)
    assert votes.filter(pl.col("verdicts") == 1).height == unanimous


@pytest.mark.realdata
def test_finegrained(lake: Lake, realdata: Path) -> None:
    summary = bring(lake, realdata / "finegrained_qa_dev.jsonl.gz", name="finegrained")
    assert (summary.rows_in, summary.kept) == (500, 500)
    assert (summary.quarantined, count(lake, "imports")) == ({}, 500)
    assert summary.dropped == {"identical_responses": 0, "duplicate": 0}
    assert count(lake, "prompts") == 500
    assert count(lake, "responses") == 2000
    assert judgments_by_annotator(lake) == {"import:finegrained": ("import", 3000, 384, 0)}
    # the first of a comparison is the response with the smaller number: 1,577 first, 1,039 second
    verdicts = dict(lake.query("SELECT raw, count(*) FROM judgments GROUP BY raw").iter_rows())
    assert verdicts == {"1": 1577, "2": 1039, "0": 384}
    # two questions come without passages; the others have them in the prompt that judges are shown
    shown = lake.query(
        "SELECT count(*) FILTER (context IS NULL AND NOT contains(asked, 'Passages:')) AS bare, "
        "count(*) FILTER (ends_with(asked, '\n\nPassages:\n\n' || context)) AS with_passages "
        "FROM (SELECT context, messages[1].content AS asked FROM prompts)"
    )
    assert shown.row(0) == (2, 498)
