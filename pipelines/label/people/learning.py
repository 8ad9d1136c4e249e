"""What gold taught, by the minutes that people had spent: how right the labels of a policy are, and
how right a small reward model is that learned from them, both on gold that they did not know.

After so many minutes some pairs had all the answers that made them gold. The pairs of gold are
dealt into folds by prompt (or cluster). For each fold, all that people and recorders say of its
pairs is hidden; of the others the policy knows the gold of that minute, and what machines said.
What it then says of the fold's pairs is held against their gold, and so is a reward model fit to
its labels of the other folds. So every point of the curve is measured on the same pairs, and none
on what it was taught.

The policy sees the pairs of gold alone, and all judges that spoke of them, uncalibrated. A gold
loop reads its whole pool, and not anew for every minute: of a pair whose gold is hidden it says
nothing here, and the model learns from gold alone. The exam's gold (`pipelines.lake.teaching`) is
left out: what the curve shows is to say where people are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from annotators.gold import GOLD, HUMAN, tell_voice
from annotators.people.minutes import trace_curve
from annotators.probe import call_winners, fit_probe
from annotators.verifiers import VERIFIERS, VERSION_MARK
from engines.embedder import embed_texts
from pipelines.label.juries import JURIES
from pipelines.label.labelling import LOOP
from pipelines.label.latest import keep_last_guided
from pipelines.label.people.counting import PEOPLE, keep_counted
from pipelines.label.people.ledger import list_spent, time_gold
from pipelines.label.policies import POLICIES, gold_loop
from pipelines.label.reliability import clean_numbers
from pipelines.lake.catalogue import Lake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.teaching import leave_exam
from schemas.ids import make_pair_id, make_seed

LEAST_GOLD = 50  # at fewer, the interval of an accuracy spans a quarter of the scale
MOST_GOLD = 600
FOLDS = 5
POINTS = 8
LEAST_TAUGHT = 20  # labels that a reward model must have to learn from
SIDES = ["response_a", "response_b"]
Embed = Callable[[Sequence[str]], Any]
Points = list[dict[str, Any]]

SPOKEN = """
SELECT * FROM judgments WHERE
    ((response_a, response_b) IN (SELECT (response_a, response_b) FROM pairs) AND criterion IS NULL)
    OR (kind = 'verifier' AND response_b IS NULL AND (
        response_a IN (SELECT response_a FROM pairs)
        OR response_a IN (SELECT response_b FROM pairs)))
ORDER BY judgment_id
"""
GROUPS = """
SELECT prompt_id, coalesce(any_value(cluster_id), prompt_id) AS cluster
FROM wanted LEFT JOIN splits USING (prompt_id) GROUP BY prompt_id
"""


def trace_learning(
    lake: Lake, policy: str, threshold: float, embed: Embed = embed_texts
) -> dict[str, Any]:
    """The curves of a label policy.

    Args:
        embed: texts to vectors of length 1.

    Returns:
        gold: the pairs that people released with a side and no other gold denies; needed: how many
        it takes (`LEAST_GOLD`). labels, model: the points of the two curves, as
        `annotators.people.minutes.trace_curve` has them, with `gold` (pairs known by then). What a
        policy leaves undecided counts as half right, for with more gold it may decide more; so
        labels have `coverage` too (the share of the pairs that it labels) and `right` (of these;
        None where it labels none). Both are empty where gold is too little.
    """
    gold = _find_gold(lake)
    found: dict[str, Any] = {"gold": len(gold), "needed": LEAST_GOLD, "labels": [], "model": []}
    if len(gold) < LEAST_GOLD:
        return found
    gold = _deal(lake, gold)
    said = _find_said(lake, gold)
    apart = _compare_texts(lake, gold, embed)
    labels: Points = []
    model: Points = []
    for known, minutes in _choose_points(gold["minutes"].to_list()):
        point = {"minutes": minutes, "gold": known, "n": len(gold)}
        right, taught = _measure(gold, said, policy, threshold, minutes, apart)
        called = len(right) / len(gold)
        labels.append(
            {**point, "accuracy": sum(right) / len(gold) + (1 - called) / 2, "coverage": called,
             "right": sum(right) / len(right) if right else None}
        )  # fmt: skip
        if taught:
            model.append({**point, "accuracy": sum(taught) / len(taught)})
    found["labels"], found["model"] = _draw_curve(labels), _draw_curve(model)
    return clean_numbers(found)  # type: ignore[no-any-return]


def _find_gold(lake: Lake) -> pl.DataFrame:
    """pair_id, prompt_id, the responses, first_wins, minutes: of more than `MOST_GOLD` those that
    come first by hash; in the order of time."""
    timed = time_gold(lake, list_spent(lake)).filter(pl.col("criterion").is_null())
    said = lake.query(
        "SELECT prompt_id, response_a, response_b, min(p_a) AS low, max(p_a) AS high "
        "FROM judgments WHERE coalesce(gold, false) AND valid AND p_a IS NOT NULL "
        "AND criterion IS NULL AND response_b IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
    sided = said.filter((pl.col("low") > 0.5) | (pl.col("high") < 0.5)).join(timed, on=SIDES)
    rows = leave_exam(lake, sided).select(
        pl.struct("prompt_id", *SIDES)
        .map_elements(lambda row: make_pair_id(*row.values()), return_dtype=pl.String)
        .alias("pair_id"),
        "prompt_id",
        *SIDES,
        "minutes",
        first_wins=pl.col("low") > 0.5,
    )
    place = pl.col("pair_id").map_elements(lambda i: make_seed("learning", i), pl.Int64)
    return rows.sort(place).head(MOST_GOLD).sort("minutes", "pair_id")


def _deal(lake: Lake, gold: pl.DataFrame) -> pl.DataFrame:
    """With `fold`: the pairs of a cluster, or else of a prompt, are in one."""
    clusters = lake.query(GROUPS, wanted=gold.select("prompt_id").unique())
    names = sorted(clusters["cluster"].unique(), key=lambda name: make_seed("fold", name))
    folds = {name: place % FOLDS for place, name in enumerate(names)}
    fold = pl.col("cluster").replace_strict(folds, return_dtype=pl.Int64)
    return gold.join(clusters, on="prompt_id", maintain_order="left").with_columns(fold=fold)


def _find_said(lake: Lake, gold: pl.DataFrame) -> pl.DataFrame:
    """What was said of the pairs, as policies read it, with `voice` (see `annotators.gold`)."""
    pools = lake.query("SELECT DISTINCT source FROM imports")["source"].to_list()
    rows = lake.query(SPOKEN, pairs=gold.select(SIDES))
    orders = lake.query(
        "SELECT DISTINCT annotator FROM annotators "
        "WHERE coalesce(json_extract_string(specification, '$.orders'), 'both') <> 'both'"
    )["annotator"].to_list()
    stale = pl.col("annotator").str.starts_with(VERIFIERS) & ~pl.col("annotator").str.ends_with(
        VERSION_MARK
    )
    counted = keep_counted(drop_superseded(lake, rows.filter(~stale), pools))
    return keep_last_guided(counted).with_columns(
        one_order=pl.col("annotator").is_in(orders),
        model=pl.lit(None, pl.String),
        p_raw="p_a",
        voice=tell_voice(),
    )


def _compare_texts(lake: Lake, gold: pl.DataFrame, embed: Embed) -> Any:
    """The vector of each pair's first response less that of its second."""
    ids = pl.concat([gold[side].alias("response_id") for side in SIDES]).unique().sort()
    texts = lake.query(
        "SELECT response_id, content FROM responses SEMI JOIN wanted USING (response_id) "
        "ORDER BY response_id",
        wanted=ids.to_frame(),
    )
    vectors = np.asarray(embed(texts["content"].to_list()), dtype=np.float64)
    place = {key: at for at, key in enumerate(texts["response_id"])}
    first, second = ([place[key] for key in gold[side]] for side in SIDES)
    return vectors[first] - vectors[second]


def _choose_points(minutes: list[float]) -> list[tuple[int, float]]:
    """How many pairs were gold after how many minutes, from none to all, in equal steps of gold."""
    counts = sorted({round(step * len(minutes) / (POINTS - 1)) for step in range(POINTS)})
    found = {0.0: 0}
    for count in counts[1:]:
        at = minutes[count - 1]
        found[at] = sum(value <= at for value in minutes)
    return [(known, at) for at, known in sorted(found.items())]


def _measure(
    gold: pl.DataFrame,
    said: pl.DataFrame,
    policy: str,
    threshold: float,
    minutes: float,
    apart: Any,
) -> tuple[list[float], list[float]]:
    """Whether the labels that the policy gives are right (1, else 0), and for every pair whether a
    reward model taught by them is (or 0.5; empty where a fold has too few labels to learn from)."""
    policies = {**POLICIES, **JURIES, LOOP: gold_loop}
    pairs = gold.select("pair_id", "prompt_id", *SIDES)
    released = pl.col("annotator").str.starts_with(PEOPLE)
    vouched = pl.col("voice").is_in([GOLD, HUMAN]).fill_null(False)
    late = gold.filter(pl.col("minutes") > minutes).select(SIDES)
    known = pl.concat(
        [said.filter(~released), said.filter(released).join(late, on=SIDES, how="anti")]
    )
    first_wins = gold["first_wins"].to_numpy()
    right: list[float] = []
    taught: list[float] = []
    for fold in range(FOLDS):
        held = (gold["fold"] == fold).to_numpy()
        hidden = gold.filter(pl.col("fold") == fold).select(SIDES)
        heard = pl.concat(
            [known.filter(~vouched), known.filter(vouched).join(hidden, on=SIDES, how="anti")]
        )
        labels = policies[policy](pairs, heard.drop("voice"), threshold)
        called = pairs.join(labels, on="pair_id", how="left", maintain_order="left")
        is_called = (called["status"] == "labelled").to_numpy()
        sides = (called["p_a"].fill_null(0.5) > 0.5).to_numpy()
        right += (sides == first_wins)[held & is_called].astype(float).tolist()
        lesson = ~held & is_called
        if lesson.sum() >= LEAST_TAUGHT and held.any():
            weights = fit_probe(apart[lesson], sides[lesson])
            winners = call_winners(weights, apart[held])
            taught += (1 - np.abs(winners - first_wins[held])).tolist()
    return right, taught if len(taught) == len(gold) else []


def _draw_curve(points: Points) -> Points:
    if not points:
        return []
    frame = pl.DataFrame(points)
    return trace_curve(frame).with_columns(frame.drop("minutes", "accuracy", "n")).to_dicts()
