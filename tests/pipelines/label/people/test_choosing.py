"""What is asked first: gain, cost, and a batch that is not all alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.label.people.choosing import Candidate, choose
from pipelines.label.people.costs import FIXED_SECONDS, LIMIT, SKIMMED, expect_seconds
from pipelines.label.people.gains import weigh_pairs
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from tests.pipelines.label.people.people_lake import fill_lake

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        key=st.uuids().map(str),
        worth=st.integers(0, 2**20).map(lambda n: n / 2**20),
        seconds=st.sampled_from([8.0, 16.0, 32.0]),
        category=st.sampled_from(["x", "y", None]),
        cluster=st.sampled_from(["1", "2", "3", None]),
    ),
    max_size=30,
    unique_by=lambda c: c.key,
)


@given(CANDIDATES, st.floats(0, 500), st.randoms())
def test_a_budget_is_kept_filled_and_does_not_depend_on_the_order(
    candidates: list[Candidate], seconds: float, rng: Any
) -> None:
    taken = choose(candidates, seconds=seconds)
    spent = sum(c.seconds for c, _ in taken)
    assert spent <= seconds + 1e-6
    left = [c for c in candidates if c not in [t for t, _ in taken]]
    assert all(spent + c.seconds > seconds - 1e-6 for c in left)  # nothing that fits is left
    shuffled = list(candidates)
    rng.shuffle(shuffled)
    assert choose(shuffled, seconds=seconds) == taken
    gains = [c.worth * coverage / c.seconds for c, coverage in choose(candidates, seconds=1e9)]
    assert gains == sorted(gains, reverse=True)


def choose_plainly(candidates: list[Candidate], seconds: float) -> list[str]:
    """The same by looking at all of them each time."""
    taken: list[Candidate] = []
    left, rest = seconds, list(candidates)
    while rest:

        def rank(c: Candidate) -> tuple[float, str]:
            alike = sum(t.cluster == c.cluster for t in taken if c.cluster is not None)
            kin = sum(t.category == c.category for t in taken if c.category is not None)
            return -c.worth / c.seconds / (1 + alike) / (1 + kin) ** 0.5, c.key

        best = min(rest, key=rank)
        rest.remove(best)
        if best.seconds <= left:
            taken.append(best)
            left -= best.seconds
    return [c.key for c in taken]


@given(CANDIDATES, st.floats(0, 500))
def test_it_is_the_greedy_choice(candidates: list[Candidate], seconds: float) -> None:
    assert [c.key for c, _ in choose(candidates, seconds=seconds)] == choose_plainly(
        candidates, seconds
    )


def test_a_batch_is_not_all_alike() -> None:
    twins = [Candidate(f"a{i}", 0.9, 1, "opinion", "one") for i in range(10)]
    others = [Candidate(f"b{i}", 0.6, 1, "coding", f"c{i}") for i in range(10)]
    taken = [c.key[0] for c, _ in choose([*twins, *others], count=6)]
    assert taken[0] == "a" and taken.count("b") >= 4
    assert choose(twins, count=3)[1][1] == pytest.approx(1 / (2 * 2**0.5))


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def judge(lake: Lake, pair: dict[str, Any], **changes: Any) -> None:
    row = {
        "annotator": "judge", "kind": "llm", "prompt_id": pair["prompt_id"],
        "response_a": pair["response_a"], "response_b": pair["response_b"], "p_a": 0.5,
        "tie": False, "valid": True, "sample_index": 0, **changes,
    }  # fmt: skip
    row["judgment_id"] = json.dumps([row[k] for k in ("annotator", "response_a", "p_a", "score")
                                     if k in row])  # fmt: skip
    lake.append({"judgments": [row]}, run=new_run(), stage="test")


def describe(lake: Lake, target: str, objectivity: str, controversiality: str) -> None:
    row = {"attributes_id": f"{target}-attributes", "target": target, "prompt_id": target,
           "annotator": "m", "objectivity": objectivity, "controversiality": controversiality,
           "valid": True}  # fmt: skip
    lake.append({"attributes": [row]}, run=new_run(), stage="test")


def test_what_nobody_knows_and_people_will_agree_on_is_worth_most(lake: Lake) -> None:
    pairs = fill_lake(lake, 7)
    torn, sure, unsure, fair, scored, close, dark = pairs
    for name, p in (("one", 0.9), ("two", 0.2)):
        judge(lake, torn, annotator=name, p_a=p)
        judge(lake, sure, annotator=name, p_a=0.9)
    judge(lake, unsure, annotator="reward", kind="reward_model", p_a=0.5)
    for pair, scores in ((scored, (9.0, 0.0)), (close, (1.0, 1.0))):
        for side, score in zip("ab", scores, strict=True):
            judge(lake, pair, annotator="signal:x", kind="reward_model", p_a=None, score=score,
                  response_a=pair[f"response_{side}"], response_b=None)  # fmt: skip
    describe(lake, fair["prompt_id"], "objective", "low")
    describe(lake, dark["pair_id"], "subjective", "high")
    frame = pl.DataFrame(
        [{key: pair[key] for key in ("pair_id", "prompt_id", "response_a", "response_b")}
         for pair in pairs],
    ).with_columns(entropy=pl.lit(None, pl.Float64))  # fmt: skip
    found = {row["pair_id"]: row for row in weigh_pairs(lake, frame).to_dicts()}
    by = {name: found[pair["pair_id"]] for name, pair in (
        ("torn", torn), ("sure", sure), ("unsure", unsure), ("fair", fair), ("scored", scored),
        ("close", close), ("dark", dark))}  # fmt: skip
    assert (by["torn"]["disagreement"], by["sure"]["disagreement"]) == (1.0, 0.0)
    assert by["sure"]["worth"] == 0.0
    assert by["unsure"]["signal"] == 1.0
    assert by["close"]["signal"] > by["scored"]["signal"] > 0
    assert by["fair"]["worth"] == 1.0  # nothing is known of it, and people will agree
    assert by["dark"]["worth"] == pytest.approx(0.6 * 0.5)
    assert by["dark"]["worth"] < by["torn"]["worth"] < by["fair"]["worth"]
    assert by["fair"]["category"] is not None
    entropy = frame.with_columns(entropy=pl.lit(0.5))
    assert weigh_pairs(lake, entropy)["worth"][0] == pytest.approx(0.75 * 0.64)  # mean of the two


def ask(lake: Lake, question: str = "preference") -> float:
    review = lake.query("FROM reviews ORDER BY review_id LIMIT 1")
    asked = review.select(
        "prompt_id",
        question=pl.lit(question),
        responses=pl.concat_list("response_a", "response_b"),
    )
    return float(expect_seconds(lake, asked)[0])


def test_seconds_are_learned_from_the_prior_on(lake: Lake) -> None:
    pairs = fill_lake(lake, 60)
    prior = ask(lake)
    assert FIXED_SECONDS["preference"] < prior < FIXED_SECONDS["preference"] + 200 / SKIMMED

    def spend(first: int, count: int, seconds: float) -> None:
        for number in range(first, first + count):
            detail = json.dumps({"annotation": str(number), "question": "preference"})
            judge(lake, pairs[number], annotator=f"person-{number}", kind="human", p_a=1.0,
                  seconds=seconds, detail=detail)  # fmt: skip

    spend(0, 10, 2 * prior)
    after = ask(lake)
    assert prior < after < 2 * prior
    spend(10, 40, 2 * prior)
    assert after < ask(lake) < 2 * prior
    untouched = ask(lake, "correctness")
    assert untouched == pytest.approx(prior - 5, abs=0.01)  # another question learns nothing
    before = ask(lake)
    spend(50, 1, 1e6)  # a page left open over lunch
    assert ask(lake) < before * LIMIT ** (2 / 60)


def test_an_empty_lake_and_nothing_asked_are_no_faults(lake: Lake) -> None:
    nothing = pl.DataFrame(
        schema={"question": pl.String, "prompt_id": pl.String, "responses": pl.List(pl.String)}
    )
    assert len(expect_seconds(lake, nothing)) == 0
    unknown = pl.DataFrame({"question": ["spans"], "prompt_id": ["?"], "responses": [["?"]]})
    assert expect_seconds(lake, unknown).to_list() == [FIXED_SECONDS["spans"]]
    assert choose([], seconds=10) == []
