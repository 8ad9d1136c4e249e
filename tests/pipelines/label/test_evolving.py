"""Gold in the lake, and judging of a rubric that is kept there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from annotators.rubrics.judge import RubricJudge, load_rubric_templates
from annotators.rubrics.rubric import Criterion, Rubric
from engines.models import resolve_model
from pipelines.label.evolving import find_gold, hold_in_lake
from pipelines.label.reliability import measure_annotators
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_prompt_id, make_response_id
from tests.annotators.judging import make_item
from tests.conftest import make_recipe
from tests.stub_server import run_stub

MESSAGES = [{"role": "user", "content": "Which?"}]
PROMPT = make_prompt_id(MESSAGES)
A, B = sorted(make_response_id(PROMPT, text) for text in ("one", "two"))


@pytest.fixture
def lake(tmp_path: Path) -> Any:
    with open_lake(tmp_path / "lake") as opened:
        prompt = {"prompt_id": PROMPT, "messages": MESSAGES, "category": "advice",
                  "source": "seed", "licence": "MIT"}  # fmt: skip
        responses = [
            {"response_id": make_response_id(PROMPT, text), "prompt_id": PROMPT, "content": text}
            for text in ("one", "two")
        ]
        split = {"prompt_id": PROMPT, "cluster_id": PROMPT, "split": "train"}
        rows = {"prompts": [prompt], "responses": responses, "splits": [split]}
        opened.append(rows, run=new_run(), stage="test")
        yield opened


def judge(lake: Lake, name: str, p_a: float | None, **changes: Any) -> None:
    row = {"judgment_id": f"{name}{p_a}", "annotator": name, "kind": "human", "prompt_id": PROMPT,
           "response_a": A, "response_b": B, "p_a": p_a, "tie": False, "valid": p_a is not None,
           "sample_index": 0, **changes}  # fmt: skip
    lake.append({"judgments": [row]}, run=new_run(), stage="test")


def test_people_are_gold_and_the_latest_word_of_each_counts(lake: Lake) -> None:
    judge(lake, "ana", 0.0)
    judge(lake, "ana", 1.0)
    judge(lake, "ben", 1.0)
    judge(lake, "ben", None)  # taken back
    judge(lake, "a model", 0.0, kind="llm")
    judge(lake, "ana", 0.2, criterion="tone")
    (pair,) = find_gold(lake, ["*"])
    assert pair.p_a == 1.0
    assert pair.item.response_ids == (A, B) and pair.item.category == "advice"
    assert sorted(pair.item.contents) == ["one", "two"]
    assert dict(zip(pair.item.contents, pair.item.response_ids, strict=True))["one"] == (
        make_response_id(PROMPT, "one")
    )


@pytest.mark.parametrize("ids", [("0", "f"), ("f", "0")])
def test_of_several_revisions_in_one_pull_the_latest_at_the_desk_counts(
    lake: Lake, ids: tuple[str, str]
) -> None:
    rows = [
        {"judgment_id": judgment_id, "annotator": "ana", "kind": "human", "prompt_id": PROMPT,
         "response_a": A, "response_b": B, "p_a": float(at), "tie": False, "valid": True,
         "sample_index": 0, "order": "ab" if at else "ba",
         "detail": f'{{"updated_at": "2026-01-0{at + 1}"}}'}
        for at, judgment_id in enumerate(ids)
    ]  # fmt: skip
    lake.append({"judgments": rows}, run=new_run(), stage="test")
    (pair,) = find_gold(lake, ["*"])
    assert pair.p_a == 1.0


def test_a_criterion_that_is_tried_is_nobodys_judge(lake: Lake) -> None:
    """Its answers are kept and cost nothing again; it has no judgments, hence no card."""
    alone = Rubric("criterion", 1, ("*",), (Criterion("Right", "It is right.", "core"),))
    with run_stub() as stub:
        model = resolve_model(make_recipe(stub.url).models["m"])
        judge = RubricJudge(model, load_rubric_templates(), (alone,), adapt=False)
        item = make_item("one", "two")
        first = hold_in_lake(lake, new_run(), judge, [item])
        asked = stub.stats()["requests"]
        assert first == hold_in_lake(lake, new_run(), judge, [item]) and len(first) == 2
        assert asked == stub.stats()["requests"] == len(lake.query("FROM answers"))
    assert len(lake.query("FROM judgments")) == 0
    assert measure_annotators(lake).cards.is_empty()


def test_what_is_flagged_gold_goes_before_people(lake: Lake) -> None:
    judge(lake, "ana", 0.0)
    judge(lake, "import:exam", 1.0, kind="import", gold=True)
    judge(lake, "import:pool", 0.0, kind="import")
    (pair,) = find_gold(lake, ["advice", "writing"])
    assert pair.p_a == 1.0


def test_only_the_categories_of_the_rubric_are_taken(lake: Lake) -> None:
    assert find_gold(lake, ["*"]) == []
    judge(lake, "ana", 0.0)
    assert find_gold(lake, ["writing"]) == []
    assert len(find_gold(lake, ["advice"])) == 1
