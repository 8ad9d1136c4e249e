"""The card of an exported data set: what is in it, who labelled it, and what it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from annotators.templates import hash_templates
from pipelines.lake.catalogue import Lake
from pipelines.ship.loops import describe_loop
from pipelines.ship.publish import Published
from pipelines.ship.tastes import describe_prototypes
from schemas.part import EMBEDDED

POLICY_TEXT = {
    "verifier_first": "a verifier's verdict where there is one, else people's, else a judge asked "
    "in both orders whose averaged probability reached the threshold",
    "human_first": "people's word where there is one, else a verifier's, else a judge asked in "
    "both orders whose averaged probability reached the threshold",
    "judge_only": "a judge asked in both orders whose averaged probability reached the threshold, "
    "else people's word",
    "imported": "the labels that came with the imported pool (what it records as gold, else the "
    "majority of its people, else its label, else its judges), which were not measured here, else "
    "a judge asked in both orders whose averaged probability reached the threshold; what is "
    "recorded or released as gold stands above all, its majority where it is torn",
    "dawid_skene": "the posterior of Dawid and Skene over people, verifiers and judges together, "
    "where that of one side reached the threshold; what is recorded as gold is known",
    "gold_first": "people's word and recorded gold on the pairs that have it; on the others the "
    "posterior of Dawid and Skene over verifiers and judges, taught by that gold, where that of "
    "one side reached the threshold",
    "weighted_vote": "people's word and recorded gold on the pairs that have it; on the others "
    "the votes of verifiers and judges weighed by the log odds of their accuracy on that gold, "
    "where the weight of one side reached the threshold",
    "unanimous": "people's word and recorded gold on the pairs that have it; on the others what "
    "every judge says in both orders and every sample and nobody else denies, where their averaged "
    "probability reached the threshold",
    "gold_loop": "people's word and recorded gold on the pairs that have it, and a verifier's "
    "where there is one; on the others the label that the pair came with, as all voices together "
    "read it by the light of that gold (judges, reward models and two small models of it, weighed "
    "by how they err together): kept, turned round, or left out",
}
ORDERS_TEXT = {
    "both": "both orders",
    "ab": "one order (the smaller response id first)",
    "ba": "one order (the larger response id first)",
    "random": "one order (by the hash of the pair)",
}


JUDGED = """
WITH voices AS (
    SELECT annotator, bool_or(kind = 'human') AS person,
        bool_or(kind IN ('llm', 'reward_model')) AS model
    FROM judgments GROUP BY annotator
), labels AS (
    SELECT pair_id, coalesce(bool_or(person), false) AS by_people,
        coalesce(bool_or(model), decided_by = 'llm') AS by_model
    FROM (SELECT pair_id, decided_by, unnest(annotators) AS annotator FROM version_pairs
        WHERE name = ? AND version = ? AND decided_by IN ('llm', 'consensus'))
    LEFT JOIN voices USING (annotator) GROUP BY pair_id, decided_by
)
SELECT count_if(by_model AND NOT by_people), count_if(by_model AND by_people) FROM labels
"""


def write_card(lake: Lake, version: Published, *, hub: bool = False) -> str:
    """The card in Markdown with the YAML head that the Hub reads.

    Args:
        hub: name the Parquet files, for the Hub's loader; a saved folder needs none.
    """
    row = lake.query(
        "SELECT recipe, recipe_hash, policy, licences FROM versions WHERE name = ? AND version = ?",
        [version.name, version.version],
    ).row(0, named=True)
    recipe = json.loads(row["recipe"])
    head: dict[str, Any] = {
        "pretty_name": f"{version.name} {version.version}",
        **make_licence(row["licences"]),
        "tags": ["preference", "reward-model", "assay"],
        "task_categories": ["text-generation"],
    }
    if hub:
        splits = {"train", "test"} & {_side(s) for s in version.metrics.get("splits", {})}
        files = [
            {"split": split, "path": f"data/{split}-*.parquet"}
            for split in ("train", "test")
            if split in splits
        ]
        head["configs"] = [{"config_name": "default", "data_files": files}]
    metrics = version.metrics
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {version.name} {version.version}",
        recipe.get("description") or "",
        f"{version.rows} preference pairs, fingerprint `{version.fingerprint}`.",
        "## Composition",
        _table("category", metrics.get("by_category", {})),
        _table("source", metrics.get("by_source", {})),
        _table("split (by prompt cluster)", metrics.get("splits", {})),
        "## Who labelled it",
        f"Label policy `{row['policy']}`: {POLICY_TEXT[row['policy']]}.",
        _describe_prototype(lake, version),
        _table("decided by", metrics.get("decided_by", {})),
        _table("tier", metrics.get("tiers", {})),
        _describe_judges(lake, version),
        describe_loop(metrics.get("loop")),
        "## Columns",
        "`prompt`, `chosen` and `rejected` are lists of messages; `margin` is 2 p − 1 where "
        "`probability` p is how surely the chosen one is better; `tier` is gold (people), silver "
        "(verifier or judge) or candidate (an imported label that nobody measured). "
        "`datasets.load_from_disk` gives what TRL's `RewardTrainer` trains on as it is.",
        _describe_order((recipe.get("mix") or {}).get("order")),
        "## Licences",
        "\n".join(f"- {licence}" for licence in row["licences"]),
        "## Known limits",
        "\n".join(
            f"- {limit}" for limit in _list_limits(recipe, metrics, _count_judged(lake, version))
        ),
        "## How to reproduce",
        f"Recipe hash `{row['recipe_hash']}`, lake snapshot {version.snapshot}. Save the recipe "
        "below as `recipe.yaml` and run `assay run recipe.yaml`.",
        f"```yaml\n{yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _describe_order(order: str | None) -> str:
    if order is None:
        return ""
    first, then = ("easy", "large") if order == "easy_first" else ("hard", "small")
    return (
        f"Rows are in the order of a curriculum, {first} ones first: by how hard the prompt is, "
        f"where that is known, then those with a {then} margin before the others. `order` is a "
        "row's place in its split, from 0. Trainers shuffle: "
        '`train_sampling_strategy="sequential"` in the arguments of a TRL trainer keeps the order.'
    )


def make_licence(licences: Sequence[str]) -> dict[str, str]:
    """The licence as the Hub's head wants it: one of its ids, or `other` with the name."""
    if len(licences) != 1:
        return {"license": "other"}
    if re.fullmatch(r"[a-z0-9.-]+", licences[0].lower()):
        return {"license": licences[0].lower()}
    return {"license": "other", "license_name": licences[0]}


def is_judged_by_embedded(recipe: Mapping[str, Any]) -> bool:
    """Whether a judge of the recipe is the embedded model (models without a part in the judging
    do not count)."""
    models = recipe.get("models") or {}
    used = [models.get(judge.get("model", EMBEDDED)) or {} for judge in recipe.get("judges") or []]
    return any(spec.get("model", EMBEDDED) == EMBEDDED and not spec.get("url") for spec in used)


def _side(split: str) -> str:
    return {"gold-teach": "train", "gold-exam": "test"}.get(split, split)


def _describe_judges(lake: Lake, version: Published) -> str:
    """The models that had a say in a label of the version, as `annotators` knows them."""
    rows = lake.query(
        "SELECT annotator, count(*) AS pairs, any_value(specification) FROM "
        "(SELECT unnest(annotators) AS annotator FROM version_pairs "
        "WHERE name = ? AND version = ?) "
        "JOIN (SELECT annotator, specification FROM annotators WHERE kind = 'llm' "
        "QUALIFY row_number() OVER (PARTITION BY annotator ORDER BY snapshot) = 1) "
        "USING (annotator) GROUP BY annotator ORDER BY annotator",
        [version.name, version.version],
    )
    if rows.is_empty():
        return "No model judged these pairs."
    lines = [
        f"- `{name}`, in {pairs} pairs: {_describe_specification(json.loads(text))}"
        for name, pairs, text in rows.iter_rows()
    ]
    return "\n".join(["Judges:", *lines])


def _describe_prototype(lake: Lake, version: Published) -> str:
    """Whose labels these are, where they are one prototype's."""
    told = describe_prototypes(lake, version)
    if told is None or told["of"] is None:
        return ""
    card = next(card for card in told["cards"] if card["prototype"] == told["of"])
    return (
        f"What neither a verifier nor recorded gold decides has the label of `{told['of']}`: "
        f"{card['annotators']} of {told['people']} people who differ from the others for good. On "
        f"pairs held out it says what they say {card['accuracy']:.1%} of the time (95 % "
        f"{card['accuracy_low']:.1%} to {card['accuracy_high']:.1%}), one model for everybody "
        f"{card['pool_accuracy']:.1%}. In the rows, `p_prototype` and `p_pool` are the chance that "
        "one of them, and that anybody, prefers the chosen response."
    )


def _describe_specification(specification: Mapping[str, Any]) -> str:
    """A judge's settings as it was asked; its templates by their hash, for they are long."""
    told = [
        f"{key} {specification[key]}"
        for key in ("method", "mode", "k", "temperature")
        if specification.get(key) is not None
    ]
    orders = specification.get("orders")
    if orders:
        told.append(ORDERS_TEXT[orders])
    templates = specification.get("templates") or {"": specification.get("template")}
    texts = [text for text in templates.values() if text]
    if texts:
        told.append(f"template `{hash_templates(*texts)[:12]}`")
    return ", ".join(told) or "settings not recorded"


def _count_judged(lake: Lake, version: Published) -> tuple[int, int]:
    """The pairs whose label a judge or a jury gave, in which a model had a say: those without a
    word of people, and those that weigh people and models together."""
    row = lake.query(JUDGED, [version.name, version.version]).row(0)
    return row[0], row[1]


def _list_limits(
    recipe: Mapping[str, Any], metrics: Mapping[str, Any], judged_pairs: tuple[int, int]
) -> list[str]:
    """Args:
    judged_pairs: of `_count_judged`.
    """
    limits = []
    share = metrics.get("reference_share", 0.0)
    if share:
        limits.append(
            f"{share:.0%} of the chosen responses are the task's reference answer, not a model's."
        )
    judged, weighed = judged_pairs
    if judged and is_judged_by_embedded(recipe):
        limits.append(
            f"{judged} of the labels come from the embedded 135M model. It exercises the "
            "pipeline; its labels are not meaningful preferences. Do not train on them."
        )
    elif judged:
        limits.append(f"{judged} of the labels come from a model's judgment, checked by nobody.")
    if weighed:
        limits.append(f"{weighed} of the labels weigh people's word and a model's together.")
    if metrics.get("tiers", {}).get("candidate"):
        limits.append("Candidate rows carry an imported label that was not measured here.")
    limits.append("Near-duplicates are found by MinHash on words; paraphrases may remain.")
    return limits


def _table(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    total = sum(counts.values())
    rows = [f"| {name} | {n} | {n / total:.1%} |" for name, n in counts.items()]
    return "\n".join([f"| {title} | pairs | share |", "|---|---:|---:|", *rows])
