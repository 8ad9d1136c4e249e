"""Guidance of judges: what the lake knows of a pair, and the gold in train that is most like it.

Gold grows, and what is paid for is not asked again for that alone. So a pair keeps the examples by
which a judge judged it for as long as all of them are gold that may teach; when one is withdrawn,
or is no longer so, and where there were none and now are, it gets the examples of today. Any
change of the words (a verdict of gold that turned, attributes that came later) is another question
with another request id, and of a judge's answers on a pair those count that came last
(`pipelines.label.latest`). The judge keeps its name throughout, and so its card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from annotators.generative import GenerativeJudge
from annotators.guidance import (
    Example,
    Guide,
    cut_examples,
    fits,
    make_example,
    make_guidance,
    show_attributes,
)
from annotators.loop.retrieval import find_examples
from annotators.pairwise import PairwiseJudge
from annotators.talk import Item, Judge, make_items
from annotators.templates import render_prompt
from annotators.yes_prob import YesProbJudge
from pipelines.label.gold import find_teach_gold
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.teaching import read_splits
from pipelines.lake.vectors import embed_missing, read_vectors

CONTEXT = 800  # characters of the prompt's end: the embedder's window is short
Attributes = Mapping[str, Mapping[str, Any]]

TEXTS = """
SELECT g.prompt_id, g.response_a, g.response_b, g.p_a, p.messages, p.category,
    a.content AS content_a, b.content AS content_b
FROM gold g JOIN prompts p USING (prompt_id) JOIN responses a ON a.response_id = g.response_a
JOIN responses b ON b.response_id = g.response_b ORDER BY g.response_a, g.response_b
"""
SHOWN = """
SELECT json_extract_string(detail, '$.of') AS target,
    arg_max(json_extract(detail, '$.examples')::VARCHAR, created_at) AS examples
FROM judgments WHERE annotator = ? AND json_exists(detail, '$.examples') GROUP BY ALL
"""
DESCRIBED = """
SELECT target, task_category, objectivity, controversiality, desired_attributes, guideline
FROM attributes SEMI JOIN wanted USING (target) WHERE valid AND annotator = ?
QUALIFY row_number() OVER (PARTITION BY target ORDER BY created_at DESC, attributes_id) = 1
"""


def find_guide(judge: Judge) -> Guide | None:
    """How a judge is guided, if it is."""
    guided = isinstance(judge, PairwiseJudge | YesProbJudge | GenerativeJudge)
    return judge.guide if guided else None


def guide_items(
    lake: Lake, run: Run, stage: str, judge: Judge, items: Sequence[Item]
) -> list[Item]:
    """The pairs with what this judge is told beside each; as they are, where it is told nothing.

    Examples are gold of prompts in train alone (`pipelines.lake.teaching`), with a side, and never
    of the pair's own prompt cluster. Similar is by the vectors of the prompt with its attributes.
    Where no gold may teach, the judge judges without examples, and the run says so.

    Raises:
        engines.embedder.EmbedderMissing: there is nothing to embed with.
    """
    guide = find_guide(judge)
    if guide is None or not items:
        return list(items)
    gold = _read_gold(lake) if guide.examples else []
    truth = {item.target: p_a for item, p_a in gold}
    described = _read_attributes(lake, guide, [*(item.target for item in items), *truth])
    examples = [make_example(item, p_a, described.get(item.target)) for item, p_a in gold]
    known = [(item, one) for (item, _), one in zip(gold, examples, strict=True) if fits(one, guide)]
    if guide.examples and not known:
        run.tell(f"{judge.annotator}: no gold in train to show; it judges without examples")
    by_id = {example.pair_id: example for _, example in known}
    chosen = _keep_shown(lake, judge, by_id) if known else {}
    asked = [item for item in items if item.target not in chosen]
    if known and asked:
        chosen |= _choose(lake, run, stage, guide, asked, known, described)
    return [
        replace(item, guidance=make_guidance(guide, item, described.get(item.target),
                                             chosen.get(item.target, ())))
        for item in items
    ]  # fmt: skip


def _read_gold(lake: Lake) -> list[tuple[Item, float]]:
    """The pairs of gold that may teach and have a side, by their ids."""
    sided = find_teach_gold(lake).filter(pl.col("p_a") != 0.5)
    found = lake.query(TEXTS, gold=sided)
    return list(zip(make_items(found), found["p_a"], strict=True))


def _read_attributes(lake: Lake, guide: Guide, targets: Sequence[str]) -> Attributes:
    """The newest words of the guide's writer on pairs, by pair."""
    if guide.writer is None:
        return {}
    wanted = pl.DataFrame({"target": sorted(set(targets))}, schema={"target": pl.String})
    rows = lake.query(DESCRIBED, [guide.writer], wanted=wanted)
    return {row["target"]: row for row in rows.iter_rows(named=True)}


def _keep_shown(lake: Lake, judge: Judge, by_id: Mapping[str, Example]) -> dict[str, list[Example]]:
    """The examples by which pairs were judged last, where there were some and all still teach."""
    found = {}
    for target, text in lake.query(SHOWN, [judge.annotator]).iter_rows():
        ids = json.loads(text)
        if ids and all(pair_id in by_id for pair_id in ids):
            found[target] = [by_id[pair_id] for pair_id in ids]
    return found


def _choose(
    lake: Lake,
    run: Run,
    stage: str,
    guide: Guide,
    items: Sequence[Item],
    known: Sequence[tuple[Item, Example]],
    described: Attributes,
) -> dict[str, list[Example]]:
    """By pair, the gold to show with it."""
    gold = [item for item, _ in known]
    texts, corpus = ([_join_texts(one, described) for one in side] for side in (items, gold))
    embed_missing(lake, run, stage, [*texts, *corpus])
    clusters = _name_clusters(lake, [*items, *gold])
    near = find_examples(
        read_vectors(lake, texts)[0],
        [clusters[item.prompt_id] for item in items],
        read_vectors(lake, corpus)[0],
        [clusters[item.prompt_id] for item in gold],
        guide.examples,
    )
    return {
        item.target: cut_examples([known[place][1] for place in places], guide)
        for item, places in zip(items, near, strict=True)
    }


def _join_texts(item: Item, described: Attributes) -> str:
    """What of an item is embedded."""
    prompt = render_prompt(item.messages)[-CONTEXT:]
    return "\n".join(filter(None, [show_attributes(described.get(item.target)), prompt]))


def _name_clusters(lake: Lake, items: Sequence[Item]) -> dict[str, str]:
    """prompt_id -> its cluster, or itself where it has none."""
    prompts = pl.DataFrame({"prompt_id": [item.prompt_id for item in items]})
    found = dict(read_splits(lake, prompts).select("prompt_id", "cluster_id").iter_rows())
    return {key: found.get(key, key) for key in prompts["prompt_id"]}
