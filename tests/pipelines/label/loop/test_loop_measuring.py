"""What is said of kept labels, and what is not: gold speaks of pairs like its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.loop.reading import read_pool
from pipelines.label.loop.evidence import Evidence, gather_evidence
from pipelines.label.loop.measuring import check_exam, estimate_kept, find_claimed
from pipelines.label.loop.outcomes import PoolRead, conclude
from pipelines.label.loop.recycling import describe_reading
from schemas.looping import LoopSpec

PAIRS, GOLD = 200, 120


def gather(came: np.ndarray, right: float = 0.55, err: int = 1, prompt: int = 1) -> Evidence:
    """Evidence of 200 pairs, the first 120 of them gold: those of `came` came with a label. So many
    pairs `err` together, and are near-duplicates of one `prompt`."""
    generator = np.random.default_rng(0)
    truth = generator.random(PAIRS) < 0.5
    label = truth ^ (generator.random(PAIRS) > right)[np.arange(PAIRS) // err]
    rows: list[dict[str, Any]] = []
    for at in range(PAIRS):
        rows += [say(at, "import:pool/crowd", "import", label[at])] * bool(came[at])
        rows += [say(at, "import:gold/experts", "human", truth[at], gold=True)] * (at < GOLD)
    absent = dict.fromkeys(("criterion", "order", "model"), pl.String)
    told = pl.DataFrame(rows, schema_overrides={**absent, "score": pl.Float64})
    pairs = pl.DataFrame([{**key(at), "pair_id": f"{at:03}", "basis": "import"}
                          for at in range(PAIRS)])  # fmt: skip
    clusters = [f"c{at // prompt}" for at in range(PAIRS)]
    prompts = pairs.select("prompt_id", cluster_id=pl.Series(clusters), category=pl.lit("chat"),
                           source=pl.lit("pool"), split=pl.lit("train"))  # fmt: skip
    sizes = pl.DataFrame({"response_id": [f"{side}{at:03}" for side in "xy" for at in range(PAIRS)],
                          "size": 9})  # fmt: skip
    return gather_evidence(lambda block: told.join(block, on="prompt_id", how="semi"), pairs,
                           prompts, sizes)  # fmt: skip


def key(at: int) -> dict[str, str]:
    return {"prompt_id": f"p{at:03}", "response_a": f"x{at:03}", "response_b": f"y{at:03}"}


def say(at: int, annotator: str, kind: str, first: bool, gold: bool = False) -> dict[str, Any]:
    return {
        **key(at), "judgment_id": f"{annotator}{at}", "annotator": annotator, "kind": kind,
        "criterion": None, "p_a": float(first), "score": None, "valid": True, "order": None,
        "sample_index": 0, "gold": gold, "one_order": False, "model": None, "p_raw": float(first),
        "created_at": None,
    }  # fmt: skip


def estimate(evidence: Evidence) -> tuple[list[dict[str, Any]], str | None]:
    """Of pairs that are all read to be .9 sure of their label, or of the first side."""
    came = pl.col("came")
    read = evidence.pairs.select(
        "pair_id",
        "came",
        p=pl.when(came.fill_null(1.0) == 1).then(0.9).otherwise(0.1),
        action=pl.when(came.is_null()).then(pl.lit("read")).otherwise(pl.lit("keep")),
        rule=pl.lit("-"),
    )
    outcomes = conclude(read, LoopSpec(), 0.75)
    kept = evidence.pairs.filter(pl.col("truth").is_null()).select("pair_id")
    pool = PoolRead(evidence, read, outcomes)
    claimed, unclaimed = find_claimed(pool, kept)
    table, unknown = estimate_kept(pool, claimed)
    return table, unclaimed or unknown


@pytest.mark.parametrize("heard", [0, 19])
def test_no_precision_is_claimed_of_labels_that_gold_does_not_speak_of(heard: int) -> None:
    places = np.arange(PAIRS)
    evidence = gather((places < heard) | (places >= GOLD))
    assert not evidence.are_labels_measured
    told = " ".join(evidence.notices)
    assert f"80 pairs came with labels that were heard on {heard} gold pairs" in told
    assert "do not count" in told and "drawn at random from the pool" in told
    table, unknown = estimate(evidence)
    assert table == [] and unknown is not None and "of 80 kept pairs are is not known" in unknown
    some = gather((places < heard) | (places >= GOLD + 20))
    table, unknown = estimate(some)
    assert table[0]["n"] == 20 and table[0]["n_gold"] == GOLD - heard  # of those without a label
    assert unknown is not None and "of 60 kept pairs" in unknown


def test_gold_pairs_of_one_prompt_say_less() -> None:
    (one, _), (six, _) = (estimate(gather(np.ones(PAIRS), 0.8, 6, size)) for size in (1, 6))
    assert one[0]["precision"] == six[0]["precision"]
    assert six[0]["high"] - six[0]["low"] > 1.6 * (one[0]["high"] - one[0]["low"])


def test_gold_speaks_of_labels_by_those_it_heard() -> None:
    """Gold without labels is right of nothing that came with one."""
    places = np.arange(PAIRS)
    evidence = gather((places < 40) | (places >= GOLD), right=0.9)
    assert evidence.are_labels_measured and "do not count" not in " ".join(evidence.notices)
    table, unknown = estimate(evidence)
    assert unknown is None and table[0]["n"] == 80 and table[0]["n_gold"] == 40
    assert table[0]["precision"] == pytest.approx(0.9, abs=0.08)


def test_the_exam_of_labels_is_gold_that_came_with_one() -> None:
    """Of 60 exam pairs the 20 that came with a label tell of kept pairs that did."""
    places = np.arange(100)
    came = pl.Series(np.where((places < 20) | (places >= 60), 1.0, np.nan)).fill_nan(None)
    pairs = pl.DataFrame([{**key(at), "pair_id": f"{at:03}"} for at in range(100)]).with_columns(
        came=came,
        cluster_id="prompt_id",
        category=pl.lit("chat"),
        split=pl.Series(np.where(places < 60, "test", "train")),
    )
    exam = [say(at, "import:gold/experts", "human", at < 15, gold=True) for at in range(60)]
    outcomes = pairs.select("pair_id", p_a=pl.lit(0.9), action=pl.lit("keep"))
    evidence = Evidence(pairs, (), np.zeros((100, 0)), pl.DataFrame(), ())
    read = PoolRead(evidence, pl.DataFrame(), outcomes)
    told = pl.DataFrame(exam, schema_overrides={"criterion": pl.String, "order": pl.String})
    row = check_exam(read, told, pairs[60:].select("pair_id"))[0]
    assert row["n"] == 20 and row["right"] == 0.75
    both = check_exam(read, told, pairs[20:].select("pair_id"))[0]  # 40 kept of either kind
    assert both["n"] == 60 and both["right"] == pytest.approx(0.75 / 2)
    assert check_exam(read, told, pairs[:0].select("pair_id")) == []


def test_a_judge_that_gave_the_labels_adds_nothing_to_them() -> None:
    generator = np.random.default_rng(1)
    truth = (generator.random(400) < 0.5).astype(float)
    label, other = (np.where(generator.random(400) < 0.8, truth, 1 - truth) for _ in range(2))
    apart, prompts = generator.normal(size=(400, 3)), [f"p{at}" for at in range(400)]
    pairs = pl.DataFrame({"cluster_id": prompts, "came": label, "sample": True, "truth": truth})
    said = np.column_stack([label, other])
    evidence = Evidence(pairs, ("giver", "other"), said, pl.DataFrame(), ())
    found = read_pool(label, evidence.judges, said, apart, prompts, truth,
                      pl.DataFrame({"source": ["pool"] * 400}))  # fmt: skip
    jury = describe_reading(evidence, np.arange(400), found)["jury"]
    giver, other_judge = jury["judges"]
    assert not giver["adds"] and abs(giver["gain"]) < 0.01
    assert other_judge["adds"] and other_judge["gain"] > 0.05
