"""Candidate pairs: what a verifier can tell apart, what is left to judges, and the cap."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.verifiers import ANNOTATOR
from pipelines.label.pairs import find_pairs
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from schemas.recipe import Recipe
from tests.conftest import make_recipe

# prompt -> response -> its verdict ("none": nobody scored it, None: the scorer could not)
SCORES: dict[str, dict[str, float | str | None]] = {
    "checked": {"c1": 1.0, "c2": 1.0, "w1": 0.0, "w2": 0.0, "half": 0.5, "x": None, "y": "none"},
    "unreadable": {"u1": None, "u2": None},
    "all-right": {"a1": 1.0, "a2": 1.0},
    "open": {"o1": "none", "o2": "none", "o3": "none"},
    "lonely": {"l1": 1.0},
    "pool": {"i1": "none", "i2": "none", "i3": "none"},
}
ROLLOUTS = pl.DataFrame(
    [(prompt, response) for prompt, scores in SCORES.items() for response in scores] * 2,
    schema=["prompt_id", "response_id"],
    orient="row",
)


def make_judgment(key: str, **fields: Any) -> dict[str, Any]:
    return {"judgment_id": key, "tie": False, "sample_index": 0, "valid": True, **fields}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder: Path = tmp_path_factory.mktemp("pairs")
    rows = [
        make_judgment(
            f"v-{response}", annotator=ANNOTATOR.format("v"), kind="verifier", prompt_id=prompt,
            response_a=response, criterion="correctness", score=score, valid=score is not None,
        )
        for prompt, scores in SCORES.items()
        for response, score in scores.items()
        if score != "none"
    ]  # fmt: skip
    # what an older version of the verifier said, the other way round
    rows += [
        {**row, "judgment_id": f"old {row['judgment_id']}", "annotator": "verifier:v",
         "score": 1.0 - row["score"]}
        for row in rows
        if row["valid"]
    ]  # fmt: skip
    for pool, a, b in (("import:pool/gpt", "i1", "i2"), ("import:other", "i1", "i3")):
        rows.append(
            make_judgment(f"{pool}{a}{b}", annotator=pool, kind="import", prompt_id="pool",
                          response_a=a, response_b=b, p_a=1.0)
        )  # fmt: skip
    with open_lake(folder / "lake") as opened:
        opened.append({"judgments": rows}, run=new_run(), stage="test")
        yield opened


def recipe(cap: int = 100, **changes: Any) -> Recipe:
    return make_recipe("http://localhost/v1", label={"pairs_per_prompt": cap}, **changes)


def pairs_of(frame: pl.DataFrame, prompt: str) -> list[tuple[str, str]]:
    return sorted(
        frame.filter(pl.col("prompt_id") == prompt).select("response_a", "response_b").iter_rows()
    )


def test_where_a_verifier_can_tell_only_correct_meets_incorrect(lake: Lake) -> None:
    found = find_pairs(lake, recipe(), ROLLOUTS)
    expected = sorted(
        tuple(sorted((c, w))) for c in ("c1", "c2") for w in ("w1", "w2", "half")
    )  # x and y are unscored: nobody knows which side they are on
    assert pairs_of(found, "checked") == expected
    bases = dict(found.select("prompt_id", "basis").iter_rows())
    assert bases["checked"] == "verifier"
    assert pairs_of(found, "all-right") == pairs_of(found, "lonely") == []


def test_where_none_can_tell_all_meet_all(lake: Lake) -> None:
    found = find_pairs(lake, recipe(), ROLLOUTS)
    assert pairs_of(found, "open") == [("o1", "o2"), ("o1", "o3"), ("o2", "o3")]
    assert pairs_of(found, "unreadable") == [("u1", "u2")]
    assert set(found.filter(pl.col("prompt_id") == "open")["basis"]) == {"all"}


def test_pairs_are_ordered_distinct_and_named_by_their_content(lake: Lake) -> None:
    found = find_pairs(lake, recipe(), ROLLOUTS)
    assert found["pair_id"].is_unique().all()
    for pair_id, prompt, a, b, _ in found.iter_rows():
        assert a < b and pair_id == make_pair_id(prompt, b, a)
    shuffled = ROLLOUTS.sample(fraction=1.0, shuffle=True, seed=3)
    assert find_pairs(lake, recipe(), shuffled).equals(found)


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_the_cap_keeps_the_smallest_ids_of_each_prompt(lake: Lake, cap: int) -> None:
    every = find_pairs(lake, recipe(), ROLLOUTS)
    capped = find_pairs(lake, recipe(cap), ROLLOUTS)
    for prompt in ("checked", "open"):
        ids = every.filter(pl.col("prompt_id") == prompt)["pair_id"].sort().to_list()
        assert capped.filter(pl.col("prompt_id") == prompt)["pair_id"].to_list() == ids[:cap]


def test_an_imported_prompt_has_the_pairs_that_its_own_pool_compared(lake: Lake) -> None:
    mine = recipe(1, prompts={"imports": [{"name": "pool", "path": "x"}]})
    found = find_pairs(lake, mine, ROLLOUTS).filter(pl.col("prompt_id") == "pool")
    assert found.select("response_a", "response_b", "basis").rows() == [("i1", "i2", "import")]
    # to a recipe without that pool it is an open prompt
    others = find_pairs(lake, recipe(), ROLLOUTS)
    assert pairs_of(others, "pool") == list(combinations(["i1", "i2", "i3"], 2))


def test_a_dropped_response_takes_its_pairs_with_it(lake: Lake) -> None:
    mine = recipe(prompts={"imports": [{"name": "pool", "path": "x"}]})
    left = ROLLOUTS.filter(~pl.col("response_id").is_in(["c1", "i2", "o3"]))
    found = find_pairs(lake, mine, left)
    gone = {"c1", "i2", "o3"}
    assert not gone & (set(found["response_a"]) | set(found["response_b"]))
    assert pairs_of(found, "checked") == [("c2", "half"), ("c2", "w1"), ("c2", "w2")]


def test_nothing_in_gives_nothing_out(lake: Lake) -> None:
    found = find_pairs(lake, recipe(), ROLLOUTS.clear())
    assert found.columns == ["pair_id", "prompt_id", "response_a", "response_b", "basis"]
    assert len(found) == 0
