"""Why a pair is in a version, or is not: everything the lake knows of it."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.clean.rule_names import name_rule
from pipelines.lake.catalogue import Lake
from pipelines.ship.withdrawn import find_withdrawn
from schemas.errors import AssayError


class PairUnknown(AssayError):
    """The lake has no such pair."""


def explain_pair(lake: Lake, pair_id: str) -> dict[str, Any]:
    """The prompt, both responses and who made them, every opinion, every decision, every version.

    `pair_id` may be shortened to its first digits as long as it stays unambiguous.

    Raises:
        PairUnknown: no review, decision or version names it (opinions name responses, not pairs),
            or several pairs fit.
    """
    pair_id = _complete(lake, pair_id)
    versions = lake.query(
        "SELECT name, version, chosen_id, rejected_id, probability, tier, decided_by, split "
        "FROM version_pairs WHERE pair_id = ? ORDER BY name, version",
        [pair_id],
    )
    gone = find_withdrawn(lake, pair_id).select("name", "version", gold_now="why")
    versions = versions.join(gone, on=["name", "version"], how="left", maintain_order="left")
    prompt_id, first, second = _find_sides(lake, pair_id, versions)
    prompt = lake.query("FROM prompts WHERE prompt_id = ?", [prompt_id]).row(0, named=True)
    opinions = lake.query(
        "SELECT annotator, kind, criterion, response_a, p_a, score, tie, valid, reason, "
        '"order", sample_index, raw FROM judgments '
        "WHERE (response_a = ? AND response_b = ?) "
        'OR (response_b IS NULL AND response_a IN (?, ?)) ORDER BY kind, annotator, "order"',
        [first, second, first, second],
    )
    decisions = lake.query(
        "SELECT stage, item_kind, action, rule, reason, value, threshold, scope FROM decisions "
        "WHERE item_id IN (?, ?, ?, ?) ORDER BY created_at",
        [pair_id, prompt_id, first, second],
    )
    responses = []
    for label, response_id in (("a", first), ("b", second)):
        content = lake.query("SELECT content FROM responses WHERE response_id = ?", [response_id])
        made = lake.query(
            "SELECT policy, sampler, seed, finish_reason, tokens_out FROM rollouts "
            "WHERE response_id = ? ORDER BY policy",
            [response_id],
        )
        responses.append(
            {
                "label": label,
                "response_id": response_id,
                "content": content["content"][0],
                "rollouts": made.to_dicts(),
            }
        )
    return {
        "pair_id": pair_id,
        "prompt": {
            key: prompt[key]
            for key in (
                "prompt_id", "messages", "category", "source", "licence", "difficulty", "answer",
                "verifier", "origin_id",
            )
        },
        "responses": responses,
        "judgments": opinions.to_dicts(),
        "decisions": decisions.to_dicts(),
        "versions": versions.to_dicts(),
    }  # fmt: skip


def render_explanation(explained: dict[str, Any]) -> str:
    """The explanation as lines that a person reads."""
    prompt = explained["prompt"]
    names = {side["response_id"]: side["label"].upper() for side in explained["responses"]}
    lines = [
        f"pair {explained['pair_id']}",
        f"prompt {prompt['prompt_id']} · {prompt['category']} · {prompt['source']} · "
        f"{prompt['licence']}",
        *(f"  {m['role']}: {clip(m['content'])}" for m in prompt["messages"]),
    ]
    for side in explained["responses"]:
        lines.append(f"response {side['label'].upper()} {side['response_id']}")
        lines.append(f"  {clip(side['content'])}")
        for made in side["rollouts"]:
            end = f", ended by {made['finish_reason']}" if made["finish_reason"] else ""
            lines.append(f"  from {made['policy']}{end}")
    lines.append(f"opinions ({len(explained['judgments'])})")
    for row in explained["judgments"]:
        if not row["valid"]:
            said = f"unscored: {row['reason']}"
        elif row["p_a"] is not None and row["criterion"]:
            said = f"{row['criterion']}: A with probability {row['p_a']:.3f}"
        elif row["p_a"] is not None:
            said = f"A is better with probability {row['p_a']:.3f}"
            said += f" (order {row['order']})" if row["order"] else ""
        else:
            what = row["criterion"] or "score"
            said = f"{what} of {names[row['response_a']]}: {row['score']:g}"
            said += f" (sample {row['sample_index']})" if row["sample_index"] else ""
        lines.append(f"  {row['annotator']}: {said}")
    lines.append(f"decisions ({len(explained['decisions'])})")
    lines += [
        f"  {row['stage']}: {row['action']} {row['item_kind']} by {row['rule']} "
        f"({name_rule(row['rule'])}): {row['reason']}"
        for row in explained["decisions"]
    ]
    lines.append(f"versions ({len(explained['versions'])})")
    lines += [
        f"  {row['name']}@{row['version']}: {names[row['chosen_id']]} chosen with probability "
        f"{row['probability']:.3f}, {row['tier']}, decided by {row['decided_by']}, {row['split']}"
        + (f"; its gold is {row['gold_now']}" if row["gold_now"] else "")
        for row in explained["versions"]
    ]
    return "\n".join(lines)


def _complete(lake: Lake, start: str) -> str:
    found = lake.query(
        "SELECT DISTINCT pair_id FROM (SELECT pair_id FROM version_pairs UNION ALL "
        "SELECT pair_id FROM reviews UNION ALL "
        "SELECT unnest(pair_ids) AS pair_id FROM imports UNION ALL "
        "SELECT item_id FROM decisions WHERE item_kind = 'pair') "
        "WHERE starts_with(pair_id, ?) ORDER BY 1 LIMIT 3",
        [start],
    )["pair_id"].to_list()
    if len(found) == 1:
        return str(found[0])
    problem = f"fits {', '.join(found)} and more" if found else "is no pair that this lake knows"
    raise PairUnknown(f"{start} {problem}; `assay export` writes the pair ids of a version")


def _find_sides(lake: Lake, pair_id: str, versions: pl.DataFrame) -> tuple[str, str, str]:
    """prompt_id and the two response ids, the smaller first."""
    from schemas.ids import make_pair_id

    if len(versions):
        row = versions.row(0, named=True)
        first, second = sorted((row["chosen_id"], row["rejected_id"]))
        prompt = lake.query("SELECT prompt_id FROM responses WHERE response_id = ?", [first])
        return str(prompt["prompt_id"][0]), first, second
    rows = lake.query(
        "SELECT prompt_id, response_a, response_b FROM reviews WHERE pair_id = ? UNION "
        "SELECT prompt_id, response_a, response_b FROM judgments WHERE response_b IS NOT NULL",
        [pair_id],
    )
    for prompt_id, first, second in rows.iter_rows():
        if make_pair_id(prompt_id, first, second) == pair_id:
            return prompt_id, first, second
    responses = lake.query("SELECT prompt_id, response_id FROM responses ORDER BY 1, 2")
    for (prompt_id,), group in responses.group_by("prompt_id", maintain_order=True):
        ids = group["response_id"].to_list()
        for i, first in enumerate(ids):
            for second in ids[i + 1 :]:
                if make_pair_id(str(prompt_id), first, second) == pair_id:
                    return str(prompt_id), first, second
    raise PairUnknown(f"{pair_id}: the responses of this pair are not in the lake")


def clip(text: str, length: int = 300) -> str:
    """A text in a line, cut where it is long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[:length]}…"
