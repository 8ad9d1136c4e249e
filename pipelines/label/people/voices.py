"""What persons said of pairs, each by name: what prototypes are fitted to.

Of our own people an answer counts that stands and is not set aside, of a batch only once somebody
has released it; what was released, the word of people together, is nobody's own. Of an imported
pool count the people that it names, by the newest edition.
"""

from __future__ import annotations

import polars as pl

from pipelines.label.people.counting import PEOPLE, keep_counted
from pipelines.label.people.resolving import find_answers
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.editions import drop_superseded
from pipelines.lake.teaching import on_test, read_splits

PAIR = ["prompt_id", "response_a", "response_b"]
SAID = """
SELECT * FROM judgments WHERE kind = 'human' AND valid AND p_a IS NOT NULL AND criterion IS NULL
AND response_b IS NOT NULL AND NOT starts_with(annotator, ?)
"""
CONTEXT = 500  # characters of the prompt's end: the embedder's window is short
TEXTS = f"""
SELECT wanted.*, right(asked, {CONTEXT}) || chr(10) || first.content AS text_a,
    right(asked, {CONTEXT}) || chr(10) || second.content AS text_b
FROM wanted JOIN (
    SELECT prompt_id, array_to_string([m.content FOR m IN messages], chr(10)) AS asked FROM prompts
) USING (prompt_id)
JOIN responses AS first ON first.response_id = response_a
JOIN responses AS second ON second.response_id = response_b
ORDER BY prompt_id, response_a, response_b
"""


def find_voices(lake: Lake | PastLake, pools: list[str]) -> pl.DataFrame:
    """annotator, prompt_id, response_a, response_b, p_a, exam: a row a person and pair. What is
    said of prompts in test (`exam`) is heard on those very pairs, and nothing is fitted to it.

    Args:
        pools: the imported pools whose people count.
    """
    said = lake.query(SAID, [PEOPLE])
    of_pool = pl.col("annotator").str.starts_with("import:")
    names = [f"import:{name}/" for name in pools]
    mine = [pl.col("annotator").str.starts_with(name) for name in names]
    heard = drop_superseded(
        lake, said.filter(~of_pool | pl.any_horizontal(pl.lit(False), *mine)), pools
    )
    alone = keep_counted(heard)
    batched = find_answers(lake).filter(
        pl.col("batch").is_not_null(), pl.col("set_aside").is_null()
    )
    vouched = lake.query("SELECT DISTINCT batch_id AS batch FROM releases")
    valid = batched.filter(
        pl.col("valid"), pl.col("p_a").is_not_null(), pl.col("criterion").is_null()
    ).join(vouched, on="batch", how="semi")
    columns = ["annotator", *PAIR, "p_a"]
    found = (
        pl.concat([alone.select(columns), valid.select(columns)])
        .group_by(columns[:-1])
        .agg(pl.col("p_a").mean())
        .sort(columns[:-1])
    )
    exam = read_splits(lake, found).filter(on_test())["prompt_id"]
    return found.with_columns(exam=pl.col("prompt_id").is_in(exam.to_list()))


def list_texts(lake: Lake | PastLake, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` with text_a and text_b, in the order of their ids: the end of the prompt and a
    response, as they are embedded. Pairs whose texts the lake lacks are left out."""
    return lake.query(TEXTS, wanted=pairs)
