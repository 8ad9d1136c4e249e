"""What an answer is worth: the share of one label that it may be expected to teach.

gain = (how little is known) × (how far people will agree) × (how new it is to the batch)

- How little is known is the mean of what the lake can tell: the entropy of the label, how far the
  judges disagree (4 s (1 - s), s their share for one side) and how unsure the reward models and
  signals are (4 p (1 - p); of scores, p is the logistic of their difference in units of its spread
  over these pairs). Each is 0 where all is settled and 1 where nothing is; where the lake can tell
  nothing, it is 1.
- How far people will agree is a guess from the prompt's attributes (`SETTLED`): an answer that the
  next person would contradict makes no gold. Skywork-Reward-V2 (2507.01352, section 3) asks people
  about objective and uncontroversial pairs first.
- How new it is falls with every pair of its cluster and category taken before (`choosing`).
"""

from __future__ import annotations

import polars as pl

from pipelines.lake.catalogue import Lake

SETTLED = {"objective": 1.0, "subjective": 0.6}
CALM = {"low": 1.0, "medium": 0.8, "high": 0.5}
UNDESCRIBED = 0.8  # the middle of the above, where nobody wrote attributes
PARTS = ("entropy", "disagreement", "signal")
PAIR = ["response_a", "response_b"]

JUDGES = """
SELECT response_a, response_b, annotator, kind, avg(p_a) AS p FROM judgments
SEMI JOIN wanted USING (response_a, response_b)
WHERE valid AND p_a IS NOT NULL AND criterion IS NULL AND kind IN ('llm', 'reward_model')
GROUP BY ALL ORDER BY ALL
"""
SCORES = """
SELECT response_a AS response, annotator, avg(score) AS score FROM judgments
WHERE valid AND score IS NOT NULL AND criterion IS NULL AND response_b IS NULL
AND kind = 'reward_model' AND response_a IN (
    SELECT response_a FROM wanted UNION ALL SELECT response_b FROM wanted)
GROUP BY ALL ORDER BY ALL
"""
DESCRIBED = """
SELECT wanted.pair_id, arg_max(objectivity, rank) AS objectivity,
    arg_max(controversiality, rank) AS controversiality
FROM wanted JOIN (
    SELECT target, objectivity, controversiality, row_number() OVER (ORDER BY created_at) AS rank
    FROM attributes WHERE valid
) ON target = wanted.pair_id OR target = wanted.prompt_id
GROUP BY wanted.pair_id
"""
PLACES = """
SELECT wanted.pair_id, any_value(category) AS category, any_value(cluster_id) AS cluster_id
FROM wanted LEFT JOIN prompts USING (prompt_id) LEFT JOIN splits USING (prompt_id)
GROUP BY wanted.pair_id
"""


def weigh_pairs(lake: Lake, pairs: pl.DataFrame) -> pl.DataFrame:
    """What an answer about each pair is worth, before it is known what else is asked.

    Args:
        pairs: pair_id, prompt_id, response_a, response_b, entropy (bits, or null).

    Returns:
        `pairs` with disagreement, signal, objectivity, controversiality (null where the lake has
        none), category, cluster_id and worth (0 to 1), in the order given.
    """
    keys = pairs.select("pair_id", "prompt_id", *PAIR)
    judged = lake.query(JUDGES, wanted=keys)
    p = pl.col("p")
    share = (p > 0.5).mean() + (p == 0.5).mean() / 2
    torn = (
        judged.filter(pl.col("kind") == "llm")
        .group_by(PAIR)
        .agg(disagreement=pl.when(pl.len() > 1).then(4 * share * (1 - share)))
    )
    signals = pl.concat(
        [
            judged.filter(pl.col("kind") == "reward_model").select(*PAIR, "p"),
            _compare_scores(keys, lake.query(SCORES, wanted=keys)),
        ]
    )
    unsure = signals.group_by(PAIR).agg(signal=(4 * p * (1 - p)).mean())
    described = lake.query(DESCRIBED, wanted=keys)
    places = lake.query(PLACES, wanted=keys)
    known = pl.mean_horizontal(pl.col("entropy").clip(0, 1), "disagreement", "signal")
    return (
        pairs.join(torn, on=PAIR, how="left", maintain_order="left")
        .join(unsure, on=PAIR, how="left", maintain_order="left")
        .join(described, on="pair_id", how="left", maintain_order="left")
        .join(places, on="pair_id", how="left", maintain_order="left")
        .with_columns(
            worth=known.fill_null(1.0)
            * pl.col("objectivity").replace_strict(SETTLED, default=UNDESCRIBED)
            * pl.col("controversiality").replace_strict(CALM, default=UNDESCRIBED)
        )
    )


def _compare_scores(pairs: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """response_a, response_b, p: of every annotator that scores both responses of a pair."""
    sides = [scores.rename({"response": side, "score": f"of_{side}"}) for side in PAIR]
    apart = pl.col("of_response_a") - pl.col("of_response_b")
    spread = apart.std().over("annotator")
    return (
        pairs.join(sides[0], on="response_a")
        .join(sides[1], on=["response_b", "annotator"])
        .with_columns(apart=apart, spread=spread)
        .filter(pl.col("spread") > 0)
        .select(*PAIR, p=1 / (1 + (-pl.col("apart") / pl.col("spread")).exp()))
    )
