"""The funnel: every line is the one before it less what was taken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.funnel import KINDS, lay_out_funnel, lay_out_funnels
from pipelines.lake.run import StageSummary

COUNTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 40), max_size=3)


@st.composite
def stage_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Stages that each add up; what one keeps need not be what the next one gets."""
    stages = []
    for name in [name for names in KINDS.values() for name in names]:
        if draw(st.booleans()):
            dropped, quarantined, kept = draw(COUNTS), draw(COUNTS), draw(st.integers(0, 90))
            rows_in = kept + sum(dropped.values()) + sum(quarantined.values())
            waits = draw(st.integers(0, kept)) if name == "label" else 0
            stages.append(StageSummary(name, rows_in, kept, dropped, quarantined=quarantined,
                                       to_review=waits).to_json())  # fmt: skip
    return stages


@given(stage_lists(), st.integers(0, 90))
def test_what_came_in_is_what_is_left_and_all_that_was_taken(
    stages: list[dict[str, Any]], published: int
) -> None:
    for kind, lines in lay_out_funnels(stages, published).items():
        mine = [stage for stage in stages if stage["stage"] in KINDS[kind]]
        assert lines[0]["rows"] == mine[0]["rows_in"]
        taken = [line for line in lines if line["what"] not in ("in", "out")]
        assert lines[-1]["rows"] == lines[0]["rows"] - sum(line["rows"] for line in taken)
        for before, line in pairwise(lines[:-1]):
            assert line["left"] == before["left"] - line["rows"]
        for stage in mine:
            drops = {line["name"]: line["rows"] for line in taken
                     if (line["stage"], line["what"]) == (stage["stage"], "dropped")}  # fmt: skip
            assert drops == {name: rows for name, rows in stage["dropped"].items() if rows}
        if kind == "pairs":
            assert lines[-1]["rows"] == published
        assert all(
            line["start"] >= 0 and line["start"] + line["width"] <= 100.001 for line in lines
        )


def test_pairs_that_wait_are_a_line_and_nothing_is_between() -> None:
    stages = [
        StageSummary("label", 10, 9, {"discarded_by_people": 1}, to_review=2).to_json(),
        StageSummary("filter", 7, 6, {"duplicate_pair": 1}).to_json(),
        StageSummary("judge", 50, 50).to_json(),
    ]
    lines = lay_out_funnels(stages, 6)["pairs"]
    assert [(line["what"], line["rows"], line["left"]) for line in lines] == [
        ("in", 10, 10), ("dropped", 1, 9), ("waiting", 2, 7), ("dropped", 1, 6), ("out", 6, 6),
    ]  # fmt: skip
    assert "prompts" not in lay_out_funnels(stages)


def test_an_empty_pool_has_a_funnel() -> None:
    assert [line["width"] for line in lay_out_funnel([StageSummary("dedup", 0, 0).to_json()])] == [
        0, 0,
    ]  # fmt: skip
