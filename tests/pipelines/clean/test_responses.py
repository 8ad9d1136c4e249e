"""Cleaning of responses: what nobody should learn from is dropped, with its rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from pipelines.clean.responses import filter_responses, keep_responses
from pipelines.clean.rules.refusal import is_refusal
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.recipe import Recipe
from tests.conftest import make_recipe

# response -> its text and the finish reasons of the rollouts that reached it
RESPONSES: dict[str, tuple[str, list[str | None]]] = {
    "good": ("A full answer.", ["stop"]),
    "blank": (" \n\t", ["stop"]),
    "empty": ("", ["stop"]),
    "cut": ("This answer was cut", ["length", "length"]),
    "blocked": ("This answer was stop", ["content_filter"]),
    "once-cut": ("The same words", ["length", "stop"]),
    "reference": ("Nobody sampled this", [None]),
    "short": ("Yes", ["stop"]),
    "long": ("so " * 30, ["stop"]),
    "refusal": ("I'm sorry, but I can't help with that.", ["stop"]),
}
ROLLOUTS = pl.DataFrame(
    [
        (f"{name}-{i}", name, content, reason)
        for name, (content, reasons) in RESPONSES.items()
        for i, reason in enumerate(reasons)
    ],
    schema=["rollout_id", "response_id", "content", "finish_reason"],
    orient="row",
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def recipe(**clean: Any) -> Recipe:
    return make_recipe("http://localhost/v1", clean=clean)


def find_rules(lake: Lake, scope: str | None) -> dict[str, str]:
    rows = lake.query("SELECT item_id, rule FROM decisions WHERE scope = ?", [scope])
    return dict(rows.iter_rows())


def test_each_dropped_response_has_its_rule(lake: Lake) -> None:
    plain = recipe(min_response_chars=5, max_response_chars=50)
    summary = filter_responses(lake, new_run(), plain, ROLLOUTS)
    dropped = {"blank": "empty_response", "empty": "empty_response", "cut": "truncated",
               "blocked": "truncated", "short": "too_short", "long": "too_long"}  # fmt: skip
    assert find_rules(lake, summary.scope) == dropped
    assert summary.dropped == {"empty_response": 2, "truncated": 2, "too_short": 1, "too_long": 1}
    assert (summary.rows_in, summary.kept) == (len(RESPONSES), len(RESPONSES) - len(dropped))
    kept = keep_responses(lake, plain, ROLLOUTS)
    assert set(kept["response_id"]) == set(RESPONSES) - set(dropped)
    assert kept.filter(pl.col("response_id") == "once-cut").height == 2


def test_refusals_and_truncated_ones_go_only_where_the_recipe_says_so(lake: Lake) -> None:
    strict = recipe(drop_refusals=True)
    lax = recipe(drop_truncated=False)
    dropped = find_rules(lake, filter_responses(lake, new_run(), strict, ROLLOUTS).scope)
    assert dropped["refusal"] == "refusal"
    dropped = find_rules(lake, filter_responses(lake, new_run(), lax, ROLLOUTS).scope)
    assert dropped == {"blank": "empty_response", "empty": "empty_response"}
    assert "refusal" not in set(keep_responses(lake, strict, ROLLOUTS)["response_id"])
    assert "refusal" in set(keep_responses(lake, lax, ROLLOUTS)["response_id"])


def test_the_summary_measures_every_response_once(lake: Lake) -> None:
    summary = filter_responses(lake, new_run(), recipe(), ROLLOUTS)
    lengths = sorted(len(content) for content, _ in RESPONSES.values())
    assert summary.extra["chars_median"] == (lengths[4] + lengths[5]) / 2
    assert summary.extra["refusal_share"] == 0.1
    assert summary.extra["truncated_share"] == 0.2
    assert filter_responses(lake, new_run(), recipe(), ROLLOUTS).to_json() == summary.to_json()


def test_a_limit_is_still_within(lake: Lake) -> None:
    exact = recipe(min_response_chars=3, max_response_chars=90)
    summary = filter_responses(lake, new_run(), exact, ROLLOUTS)
    assert not {"short", "long"} & set(find_rules(lake, summary.scope))


def test_no_response_is_no_error(lake: Lake) -> None:
    summary = filter_responses(lake, new_run(), recipe(), ROLLOUTS.clear())
    assert (summary.rows_in, summary.kept, summary.dropped) == (0, 0, {})


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ("I\u2019m sorry, but I can\u2019t help with that.", True),
        ("I cannot assist with this.", True),
        ("As an AI language model, I have no opinion.", False),
        ("As an AI language model, I do not condone that.", True),
        ("It is never acceptable to do that.", True),
        ("I apologize, but sharing this is illegal and unethical.", True),
        ("I am unable to say.", True),
        ("I can help with that.", False),
        ("I cannot recommend this film enough.", False),
        ("The sorry state of the roads is known.", False),
        ("x" * 250 + " I cannot help with that.", False),
    ],
)
def test_a_refusal_is_known_by_how_it_opens(content: str, refusal: bool) -> None:
    frame = pl.DataFrame({"content": [content]})
    assert frame.select(is_refusal(pl.col("content"))).item() is refusal
