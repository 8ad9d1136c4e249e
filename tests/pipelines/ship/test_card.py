"""What the card of a data set admits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotators.pairwise import PairwiseJudge
from annotators.templates import hash_templates
from engines.models import ResolvedModel
from pipelines.label.juries import JURIES
from pipelines.label.labelling import LOOP
from pipelines.label.policies import POLICIES
from pipelines.label.talking import describe_judge
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.ship.card import (
    POLICY_TEXT,
    _list_limits,
    is_judged_by_embedded,
    make_licence,
    write_card,
)
from pipelines.ship.publish import find_version
from schemas.recipe import ModelSpec, parse_recipe

MODEL = ResolvedModel("org/large", "r1", ModelSpec(model="org/large", url="http://there/v1"))
TEMPLATE = "{{ prompt }} {{ first }} {{ second }} A or B?"


def make_recipe(judge: str) -> dict[str, object]:
    """The embedded model writes; `judge` judges."""
    return parse_recipe(
        {
            "name": "small",
            "models": {"embedded": {}, "large": {"model": "org/large", "url": "http://there/v1"}},
            "prompts": {"arithmetic": {"count": 2}},
            "rollouts": [{"model": "embedded", "n": 2}],
            "judges": [{"name": "pairwise", "model": judge}],
        }
    ).model_dump(mode="json")


def test_only_a_judge_makes_labels_of_the_embedded_model() -> None:
    metrics = {"decided_by": {"llm": 5, "verifier": 2}}
    assert is_judged_by_embedded(make_recipe("embedded"))
    assert "5 of the labels come from the embedded 135M model" in _list_limits(
        make_recipe("embedded"), metrics, (5, 0)
    )[0]  # fmt: skip
    assert not is_judged_by_embedded(make_recipe("large"))
    limits = _list_limits(make_recipe("large"), metrics, (5, 0))
    assert limits[0] == "5 of the labels come from a model's judgment, checked by nobody."
    assert not any("135M" in limit for limit in limits)


@pytest.mark.parametrize(
    ("licences", "head"),
    [
        (["Apache-2.0"], {"license": "apache-2.0"}),
        (["ODC-By 1.0"], {"license": "other", "license_name": "ODC-By 1.0"}),
        (["ours, ask_us"], {"license": "other", "license_name": "ours, ask_us"}),
        (["CC0-1.0", "MIT"], {"license": "other"}),
    ],
)
def test_the_head_names_a_licence_that_the_hub_takes(
    licences: list[str], head: dict[str, str]
) -> None:
    assert make_licence(licences) == head


def publish_by(lake: Lake, number: int, *annotators: list[str], decided_by: str = "llm") -> str:
    """Version `number` of one pair for each list of who decided it; returns its card."""
    row = {
        "name": "small", "version": number, "snapshot": 1, "fingerprint": f"f{number}",
        "rows": len(annotators), "recipe_hash": "h", "recipe": json.dumps(make_recipe("large")),
        "policy": "verifier_first", "scopes": [], "licences": ["MIT"], "metrics": "{}",
        "cost": "{}",
    }  # fmt: skip
    pairs = [
        {
            "name": "small", "version": number, "pair_id": f"pair{i}", "prompt_id": "p",
            "chosen_id": "a", "rejected_id": "b", "probability": 0.9, "margin": 0.8, "weight": 1.0,
            "tier": "silver", "decided_by": decided_by, "annotators": names, "category": "c",
            "source": "s", "licence": "MIT", "split": "train",
        }
        for i, names in enumerate(annotators)
    ]  # fmt: skip
    done = lake.append({"versions": [row], "version_pairs": pairs}, run=new_run(), stage="test")
    assert not done.quarantined
    return write_card(lake, find_version(lake, f"small@{number}"))


ASKED: list[tuple[dict[str, Any], str]] = [
    ({}, "method pairwise, mode choice, k 1, temperature 0.0, both orders"),
    (
        {"mode": "vote", "k": 5, "temperature": 0.7, "orders": "ab"},
        "method pairwise, mode vote, k 5, temperature 0.7, "
        "one order (the smaller response id first)",
    ),
    ({"orders": "random"}, "temperature 0.0, one order (by the hash of the pair)"),
]


def test_a_judge_is_described_as_it_was_asked(tmp_path: Path) -> None:
    idle = PairwiseJudge(MODEL, TEMPLATE, max_tokens=9, mode="reason")
    with open_lake(tmp_path) as lake:
        describe_judge(lake, new_run(), "judge", idle)
        for number, (settings, words) in enumerate(ASKED, start=1):
            judge = PairwiseJudge(MODEL, TEMPLATE, **settings)
            describe_judge(lake, new_run(), "judge", judge)
            who = judge.annotator
            card = publish_by(lake, number, [who], [who, "person:1"], ["verifier:x"])
            section = card.partition("Judges:\n")[2].partition("\n\n")[0]
            assert section.startswith(f"- `{who}`, in 2 pairs: ") and words in section
            assert section.endswith(f"template `{hash_templates(TEMPLATE)[:12]}`")
            assert "None" not in section and idle.annotator not in card
        card = publish_by(lake, number + 1, ["verifier:x"], ["person:1"])
    assert "No model judged these pairs." in card and "Judges:" not in card


def test_a_jury_with_people_in_it_is_no_model(tmp_path: Path) -> None:
    kinds = {"judge": "llm", "reward": "reward_model", "verifier:x": "verifier",
             "person-1": "human", "people:b": "human"}  # fmt: skip
    with open_lake(tmp_path) as lake:
        said = [
            {"judgment_id": name, "annotator": name, "kind": kind, "prompt_id": "p",
             "response_a": "a", "response_b": "b", "p_a": 1.0, "tie": False, "valid": True,
             "sample_index": 0}
            for name, kind in kinds.items()
        ]  # fmt: skip
        lake.append({"judgments": said}, run=new_run(), stage="test")
        juries = (["judge", "reward"], ["judge", "person-1"], ["people:b", "verifier:x"],
                  ["verifier:x"], ["judge"])  # fmt: skip
        mixed = publish_by(lake, 1, *juries, decided_by="consensus")
        people = publish_by(lake, 2, ["people:b"], ["people:b", "judge"], decided_by="human")
    assert "- 2 of the labels come from a model's judgment, checked by nobody." in mixed
    assert "- 1 of the labels weigh people's word and a model's together." in mixed
    assert "of the labels" not in people


def test_every_policy_has_its_sentence() -> None:
    assert POLICY_TEXT.keys() == POLICIES.keys() | JURIES.keys() | {LOOP}
