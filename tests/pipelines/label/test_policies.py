"""Label policies on random opinions: nothing invented, nothing lost, no side favoured.

Probabilities are multiples of 1/64, so that means are exact and a pair at the threshold stays
there when its sides are swapped.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.gold import select_gold, settle_gold
from pipelines.label.policies import LABEL_SCHEMA, POLICIES, gold_loop, imported, verifier_first
from schemas.tables import polars_schema

RESPONSES = ("r1", "r2", "r3")
PAIRS = pl.DataFrame(
    {
        "pair_id": ["12", "13", "23"],
        "prompt_id": ["p"] * 3,
        "response_a": ["r1", "r1", "r2"],
        "response_b": ["r2", "r3", "r3"],
    }
)
ANNOTATORS = {
    "llm": ("j1", "j2", "import:pool/judge"),
    "human": ("ann", "bo", "import:pool/dee"),
    "import": ("import:pool",),
}

quarters = st.integers(0, 64).map(lambda n: n / 64)
thresholds = st.sampled_from([33 / 64, 0.625, 0.75, 63 / 64])
policies = st.sampled_from(sorted(POLICIES))


def make_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    more = {"one_order": pl.Boolean(), "model": pl.String(), "p_raw": pl.Float64()}
    full = [{"one_order": False, "p_raw": row.get("p_a"), **row} for row in rows]
    return pl.DataFrame(full, schema={**polars_schema("judgments"), **more})


def verdict(response: str, score: float | None) -> dict[str, Any]:
    return {"annotator": "verifier:v", "kind": "verifier", "response_a": response,
            "criterion": "correctness", "score": score, "valid": score is not None}  # fmt: skip


def opinion(
    kind: str, p_a: float | None, order: str | None = "ab", annotator: str = "", pair: str = "12"
) -> dict[str, Any]:
    return {"annotator": annotator or ANNOTATORS[kind][0], "kind": kind,
            "response_a": f"r{pair[0]}", "response_b": f"r{pair[1]}", "p_a": p_a,
            "valid": p_a is not None, "order": order}  # fmt: skip


def both_orders(p_ab: float, p_ba: float, annotator: str = "j1") -> list[dict[str, Any]]:
    return [opinion("llm", p_ab, "ab", annotator), opinion("llm", p_ba, "ba", annotator)]


@st.composite
def opinions(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(ANNOTATORS)))
    return opinion(
        kind,
        draw(st.none() | quarters),
        draw(st.sampled_from(["ab", "ba"])) if kind == "llm" else None,
        draw(st.sampled_from(ANNOTATORS[kind])),
        draw(st.sampled_from(["12", "13", "23"])),
    )


verdicts = st.builds(
    verdict, st.sampled_from(RESPONSES), st.none() | st.sampled_from([0.0, 0.5, 1.0])
)
judgments = st.lists(opinions() | verdicts, max_size=14)


def mirror(row: dict[str, Any]) -> dict[str, Any]:
    if row["kind"] == "verifier":
        return row
    p_a = None if row["p_a"] is None else 1 - row["p_a"]
    order = {"ab": "ba", "ba": "ab", None: None}[row["order"]]
    return {**row, "response_a": row["response_b"], "response_b": row["response_a"], "p_a": p_a,
            "order": order}  # fmt: skip


def find_evidence(rows: list[dict[str, Any]], pair: dict[str, Any]) -> dict[str, list[float]]:
    """Kind (`import` for what came with a pool) -> the probabilities that valid opinions of that
    kind give the pair's first side. A pool's judges speak only where it has nothing else."""
    found: dict[str, list[float]] = {}
    judges = []
    sides = (pair["response_a"], pair["response_b"])
    for row in rows:
        if row["valid"] and (row["response_a"], row.get("response_b")) == sides:
            of_pool = row["annotator"].startswith("import:")
            if of_pool and row["kind"] == "llm":
                judges.append(row["p_a"])
            else:
                found.setdefault("import" if of_pool else row["kind"], []).append(row["p_a"])
    if judges:
        found.setdefault("import", judges)
    best = [
        max((r["score"] for r in rows if r["kind"] == "verifier" and r["valid"]
             and r["response_a"] == side), default=None)
        for side in sides
    ]  # fmt: skip
    if None not in best and (best[0] == 1.0) != (best[1] == 1.0):
        found["verifier"] = [float(best[0] == 1.0)]
    return found


@settings(deadline=None, max_examples=150)
@given(policies, judgments, thresholds)
def test_every_pair_gets_one_outcome_that_its_opinions_bear_out(
    policy: str, rows: list[dict[str, Any]], threshold: float
) -> None:
    labels = POLICIES[policy](PAIRS, make_frame(rows), threshold)
    assert labels["pair_id"].to_list() == ["12", "13", "23"]
    assert dict(labels.schema) == {n: t() if isinstance(t, type) else t
                                   for n, t in LABEL_SCHEMA.items()}  # fmt: skip
    for label, pair in zip(labels.rows(named=True), PAIRS.rows(named=True), strict=True):
        evidence = find_evidence(rows, pair)
        if label["status"] == "to_review":
            assert label["reason"] in ("no_opinion", "one_order_only", "tie", "below_threshold")
            assert {label[n] for n in ("agreement", "tier", "decided_by")} == {None}
            assert label["annotators"] is None
            unread = label["reason"] in ("no_opinion", "one_order_only")
            assert (label["p_a"] is None) == unread
            continue
        assert policy == "imported" or label["decided_by"] != "import"
        said = evidence[label["decided_by"]]  # a KeyError here is an invented label
        assert label["status"] == "labelled" and label["reason"] is None
        assert min(said) <= label["p_a"] <= max(said)
        assert label["p_a"] != 0.5
        assert 0 < label["agreement"] <= 1
        assert label["annotators"]
        if label["decided_by"] == "llm":
            assert max(label["p_a"], 1 - label["p_a"]) >= threshold
            for judge in label["annotators"]:
                orders = {r["order"] for r in rows if r["annotator"] == judge and r["valid"]
                          and r["response_a"] == pair["response_a"]
                          and r["response_b"] == pair["response_b"]}  # fmt: skip
                assert orders == {"ab", "ba"}


@settings(deadline=None, max_examples=100)
@given(policies, judgments, thresholds)
def test_swapping_the_sides_swaps_the_label_and_nothing_else(
    policy: str, rows: list[dict[str, Any]], threshold: float
) -> None:
    swapped = PAIRS.rename({"response_a": "response_b", "response_b": "response_a"})
    one = POLICIES[policy](PAIRS, make_frame(rows), threshold)
    other = POLICIES[policy](swapped, make_frame([mirror(row) for row in rows]), threshold)
    assert other.with_columns(p_a=(1 - pl.col("p_a")).round(9)).equals(one)


@settings(deadline=None, max_examples=100)
@given(policies, judgments, thresholds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_means_nothing(
    policy: str, rows: list[dict[str, Any]], threshold: float, rng: Any
) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    one = POLICIES[policy](PAIRS, make_frame(rows), threshold)
    assert POLICIES[policy](PAIRS, make_frame(shuffled), threshold).equals(one)


@settings(deadline=None, max_examples=50)
@given(policies, judgments, thresholds)
def test_a_pair_is_labelled_the_same_whatever_is_labelled_beside_it(
    policy: str, rows: list[dict[str, Any]], threshold: float
) -> None:
    together = POLICIES[policy](PAIRS, make_frame(rows), threshold)
    alone = [POLICIES[policy](PAIRS[i : i + 1], make_frame(rows), threshold) for i in range(3)]
    assert pl.concat(alone).equals(together)


def decide(policy: str, *rows: dict[str, Any], threshold: float = 0.75) -> dict[str, Any]:
    return POLICIES[policy](PAIRS[:1], make_frame(list(rows)), threshold).row(0, named=True)


R1_WINS = [verdict("r1", 1.0), verdict("r2", 0.0)]
JUDGE_SAYS_R2 = both_orders(0.0, 0.0)
PERSON_SAYS_R2 = [opinion("human", 0.0, None)]
POOL_SAYS_R1 = [opinion("import", 1.0, None)]
PEOPLE_OF_POOL_SAY_R2 = [opinion("human", 0.0, None, f"import:pool/{name}") for name in "xy"]
JUDGE_OF_POOL_SAYS_R2 = opinion("llm", 0.0, None, "import:pool/judge")
GOLD_SAYS_R1 = {**opinion("human", 1.0, None, "import:pool/sure"), "gold": True}


@pytest.mark.parametrize(
    ("policy", "rows", "decided_by", "tier", "p_a"),
    [
        ("verifier_first", [*R1_WINS, *PERSON_SAYS_R2, *JUDGE_SAYS_R2], "verifier", "silver", 1),
        ("verifier_first", [*PERSON_SAYS_R2, *both_orders(1.0, 1.0)], "human", "gold", 0),
        ("human_first", [*R1_WINS, *PERSON_SAYS_R2, *JUDGE_SAYS_R2], "human", "gold", 0),
        ("human_first", [*R1_WINS, *JUDGE_SAYS_R2], "verifier", "silver", 1),
        ("judge_only", [*R1_WINS, *JUDGE_SAYS_R2], "llm", "silver", 0),
        ("imported", [*R1_WINS, *POOL_SAYS_R1, *JUDGE_SAYS_R2], "import", "candidate", 1),
        ("imported", [*POOL_SAYS_R1, *PERSON_SAYS_R2], "human", "gold", 0),
        ("imported", [*POOL_SAYS_R1, *PEOPLE_OF_POOL_SAY_R2], "import", "candidate", 0),
        ("human_first", [*PEOPLE_OF_POOL_SAY_R2, *both_orders(1.0, 1.0)], "llm", "silver", 1),
        ("imported", [*POOL_SAYS_R1, JUDGE_OF_POOL_SAYS_R2], "import", "candidate", 1),
        ("imported", [JUDGE_OF_POOL_SAYS_R2, *both_orders(1.0, 1.0)], "import", "candidate", 0),
        ("imported", [*PEOPLE_OF_POOL_SAY_R2, GOLD_SAYS_R1, *PERSON_SAYS_R2], "gold", "gold", 1),
    ],
)
def test_who_has_the_first_word(
    policy: str, rows: list[dict[str, Any]], decided_by: str, tier: str, p_a: float
) -> None:
    label = decide(policy, *rows)
    assert (label["decided_by"], label["tier"], label["p_a"]) == (decided_by, tier, p_a)


@pytest.mark.parametrize("scores", [(1.0, 1.0), (0.0, 0.0), (0.5, 0.9), (1.0, None)])
def test_a_verifier_decides_only_between_a_correct_and_an_incorrect_response(
    scores: tuple[float | None, float | None],
) -> None:
    said = [verdict("r1", scores[0]), verdict("r2", scores[1])]
    assert decide("verifier_first", *said)["reason"] == "no_opinion"
    assert decide("verifier_first", *said, *JUDGE_SAYS_R2)["decided_by"] == "llm"


def test_one_order_is_no_opinion_however_sure() -> None:
    one = opinion("llm", 1.0, "ab")
    unreadable = opinion("llm", None, "ba")
    twice = opinion("llm", 0.9, "ab")
    for rows in ([one], [one, unreadable], [one, twice]):
        label = decide("verifier_first", *rows)
        assert (label["status"], label["reason"]) == ("to_review", "one_order_only")
    assert decide("verifier_first", unreadable)["reason"] == "no_opinion"


def test_a_judge_that_lacks_an_order_does_not_silence_the_others() -> None:
    lame = [opinion("llm", 0.0, "ab", "j2"), opinion("llm", 0.0, None, "import:pool/judge")]
    label = decide("judge_only", *both_orders(0.9, 0.9), *lame)
    assert (label["p_a"], label["annotators"]) == (0.9, ["j1"])


def test_the_threshold_itself_is_enough() -> None:
    assert decide("verifier_first", *both_orders(1.0, 0.5), threshold=0.75)["p_a"] == 0.75
    assert decide("verifier_first", *both_orders(0.0, 0.5), threshold=0.75)["p_a"] == 0.25
    below = decide("verifier_first", *both_orders(1.0, 0.5), threshold=0.75 + 1 / 64)
    assert (below["status"], below["reason"], below["p_a"]) == (
        "to_review",
        "below_threshold",
        0.75,
    )


def test_a_judge_with_a_favourite_place_and_torn_people_are_ties() -> None:
    assert decide("verifier_first", *both_orders(1.0, 0.0))["reason"] == "tie"
    torn = [opinion("human", 1.0, None, "ann"), opinion("human", 0.0, None, "bo")]
    assert decide("verifier_first", *torn)["reason"] == "tie"
    assert decide("imported", *torn)["status"] == "to_review"


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_people_decide_what_a_judge_cannot(policy: str) -> None:
    unsure = both_orders(0.6, 0.5)
    assert decide(policy, *unsure)["status"] == "to_review"
    label = decide(policy, *unsure, *PERSON_SAYS_R2)
    assert (label["decided_by"], label["annotators"]) == ("human", ["ann"])


def test_a_majority_decides_and_its_size_is_told() -> None:
    people = [opinion("human", p, None, n) for n, p in zip("abc", (1.0, 1.0, 0.0), strict=True)]
    label = decide("verifier_first", *people)
    assert label["p_a"] == pytest.approx(2 / 3)
    assert label["agreement"] == pytest.approx(2 / 3)
    assert label["annotators"] == ["a", "b", "c"]


def test_a_criterion_is_not_an_overall_preference() -> None:
    rows = [{**row, "criterion": "tone"} for row in both_orders(1.0, 1.0)]
    assert verifier_first(PAIRS[:1], make_frame(rows), 0.6)["reason"][0] == "no_opinion"


def test_one_order_is_enough_of_a_judge_that_is_asked_in_one() -> None:
    half = {**opinion("llm", 0.9, "ba"), "one_order": True}
    (row,) = verifier_first(PAIRS.head(1), make_frame([half]), 0.6).to_dicts()
    assert (row["status"], row["p_a"], row["decided_by"]) == ("labelled", 0.9, "llm")


@pytest.mark.parametrize("policy", ["human_first", "verifier_first", "imported"])
def test_a_tie_of_people_is_not_overruled_by_a_lower_voice(policy: str) -> None:
    said = [
        opinion("human", 0.5, None),
        *both_orders(0.9, 0.9),
        opinion("import", 1.0, None, "import:pool"),
        opinion("human", 1.0, None, "import:pool/dee"),
    ]
    (row,) = POLICIES[policy](PAIRS.head(1), make_frame(said), 0.6).to_dicts()
    assert (row["status"], row["reason"], row["p_a"]) == ("to_review", "tie", 0.5)


GOLDEN = ("import:gold/e", "import:gold/f", "people:one", "people:two", "bo")


@given(st.lists(st.tuples(st.sampled_from(GOLDEN), quarters), min_size=1, max_size=6))
def test_what_gold_decides_is_what_it_teaches(said: list[tuple[str, float]]) -> None:
    """Neither the rank of who said it nor a mean across the middle: no version says of a gold pair
    what gold denies the moment it is published."""
    rows = make_frame([{**opinion("human", p, None, who), "gold": who != "bo", "prompt_id": "p"}
                       for who, p in said])  # fmt: skip
    truth = settle_gold(select_gold(rows))["p_a"].item()
    for policy in (gold_loop, imported):
        label = policy(PAIRS.head(1), rows, 0.6).row(0, named=True)
        if truth == 0.5:
            assert (label["status"], label["reason"], label["tier"]) == ("to_review", "tie", None)
        else:
            assert label["status"] == "labelled" and label["tier"] == "gold"
            assert (label["p_a"] > 0.5) == (truth == 1) and label["p_a"] != 0.5
            assert label["agreement"] > 0 and label["annotators"] == sorted(label["annotators"])


def test_released_people_and_recorded_gold_are_one_voice() -> None:
    recorded = {**opinion("human", 1.0, None, "import:gold/e"), "gold": True}
    people = [{**opinion("human", 0.0, None, f"people:{batch}"), "gold": True} for batch in "bc"]
    for policy in (gold_loop, imported):
        torn = policy(PAIRS.head(1), make_frame([recorded, people[0]]), 0.6).row(0, named=True)
        assert (torn["status"], torn["reason"], torn["p_a"]) == ("to_review", "tie", 0.5)
        two = policy(PAIRS.head(1), make_frame([recorded, *people]), 0.6).row(0, named=True)
        assert two["p_a"] < 0.5 and two["decided_by"] == "human"
        assert two["agreement"] == pytest.approx(2 / 3)


def test_an_opinion_for_which_order_means_nothing_counts_alone() -> None:
    """What a gate decided was shown to nobody in any order."""
    (row,) = verifier_first(PAIRS.head(1), make_frame([opinion("llm", 1.0, None)]), 0.6).to_dicts()
    assert (row["status"], row["p_a"]) == ("labelled", 1.0)
