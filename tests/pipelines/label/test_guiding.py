"""Gold in a judge's prompt: which, when it is asked anew, and what then counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.talk import Item
from annotators.templates import TemplateBroken
from pipelines.label.guiding import guide_items
from pipelines.label.judges import load_judges
from pipelines.label.judging import judge_pairs, make_pair_items
from pipelines.label.labelling import find_judgments
from pipelines.label.pairs import PAIR_SCHEMA
from pipelines.label.reliability import measure_annotators
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import StageSummary, new_run
from schemas.ids import make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import Recipe, RecipeError, parse_recipe
from tests.conftest import make_recipe
from tests.pipelines.label.vectors import embed_by_words
from tests.pipelines.splitting import put_in
from tests.stub_server import Stub, run_stub

TOPICS = ("cats", "dogs", "tea")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    embed_by_words(monkeypatch)
    with open_lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub() as running:
        yield running


def ask_of(topic: str, i: int) -> str:
    return f"{topic} {topic} {topic}, question {i}?"


def make_recipe_at(stub: Stub, **judge: Any) -> Recipe:
    models = {"m": {"model": "stub", "url": stub.url, "concurrency": 16}}
    return make_recipe(models=models, judges=[{"model": "m", "examples": 4, **judge}],
                       label={"policy": "judge_only"})  # fmt: skip


class Ground:
    """Pairs of prompts in a lake: `work` is what the stage takes."""

    def __init__(self, lake: Lake, asked: Sequence[str], split: str) -> None:
        prompts, pairs, responses = [], [], []
        for text in asked:
            messages = [{"role": "user", "content": text}]
            prompt_id = make_prompt_id(messages)
            contents = {make_response_id(prompt_id, s): s for s in (f"Yes, {text}", f"No, {text}")}
            a, b = sorted(contents)
            prompts.append({"prompt_id": prompt_id, "messages": messages, "category": "advice",
                            "source": "s", "licence": "MIT"})  # fmt: skip
            pairs.append((make_pair_id(prompt_id, a, b), prompt_id, a, b, "all"))
            responses += [{"response_id": key, "prompt_id": prompt_id, "content": content}
                          for key, content in contents.items()]  # fmt: skip
        lake.append({"prompts": prompts, "responses": responses}, run=new_run(), stage="test")
        put_in(lake, {row["prompt_id"]: split for row in prompts})
        self.pairs = pl.DataFrame(pairs, schema=PAIR_SCHEMA, orient="row")
        self.work = pl.DataFrame(prompts), self.pairs, pl.DataFrame(responses)

    @property
    def items(self) -> list[Item]:
        return make_pair_items(*self.work)


def add_gold(lake: Lake, ground: Ground, p_a: float = 1.0, name: str = "import:x/expert") -> None:
    rows = [
        {"judgment_id": f"{name}{pair}", "annotator": name, "kind": "human", "prompt_id": prompt,
         "response_a": a, "response_b": b, "p_a": p_a, "tie": p_a == 0.5, "valid": True,
         "sample_index": 0, "gold": True}
        for pair, prompt, a, b, _ in ground.pairs.rows()
    ]  # fmt: skip
    lake.append({"judgments": rows}, run=new_run(), stage="test")


def judge(lake: Lake, recipe: Recipe, ground: Ground) -> StageSummary:
    return judge_pairs(lake, new_run(), recipe, None, *ground.work)


def look_up(lake: Lake, recipe: Recipe, ground: Ground, **run: Any) -> list[Item]:
    (loaded,) = load_judges(recipe, None)
    return guide_items(lake, new_run(**run), "judge", loaded, ground.items)


def list_examples(items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    return {item.target: item.guidance.examples for item in items if item.guidance}


def test_the_most_similar_gold_comes_first_and_is_of_another_prompt(lake: Lake, stub: Stub) -> None:
    gold = Ground(lake, [ask_of(topic, i) for topic in TOPICS for i in range(5)], "gold-teach")
    add_gold(lake, gold)
    new = Ground(lake, [ask_of(topic, 9) for topic in TOPICS], "test")
    recipe = make_recipe_at(stub)
    topic_of = {item.target: str(item.messages[0]["content"])[:4] for item in gold.items}
    for item in look_up(lake, recipe, new):
        assert item.guidance and len(item.guidance.examples) == 4
        mine = str(item.messages[0]["content"])[:4]
        assert {topic_of[pair] for pair in item.guidance.examples} == {mine}
        assert "Verdict: Candidate" in item.guidance.text
    for item in look_up(lake, recipe, gold):
        assert item.guidance and item.target not in item.guidance.examples
        assert len(set(item.guidance.examples)) == 4


def test_no_example_is_of_the_pairs_own_cluster(lake: Lake, stub: Stub) -> None:
    gold = Ground(lake, [ask_of("cats", 0), ask_of("tea", 0)], "train")
    add_gold(lake, gold)
    near = Ground(lake, [ask_of("cats", 1)], "train")
    cats = next(item for item in gold.items if "cats" in str(item.messages[0]["content"]))
    tea = next(item for item in gold.items if "tea" in str(item.messages[0]["content"]))
    for item in (cats, near.items[0]):
        lake._cursor().execute(
            "UPDATE splits SET cluster_id = 'pets' WHERE prompt_id = ?", [item.prompt_id]
        )
    assert list_examples(look_up(lake, make_recipe_at(stub), near)) == {
        near.items[0].target: (tea.target,)
    }


@pytest.mark.parametrize("split", ["test", "gold-exam", None])
def test_gold_outside_train_is_never_an_example(lake: Lake, stub: Stub, split: str | None) -> None:
    add_gold(lake, Ground(lake, [ask_of("cats", 0)], split or "train"))
    if split is None:
        lake._cursor().execute("DELETE FROM splits")
    new = Ground(lake, [ask_of("cats", 1)], "train")
    told: list[str] = []
    items = look_up(lake, make_recipe_at(stub), new, tell=told.append)
    assert list_examples(items) == {new.items[0].target: ()}
    assert "cats cats cats, question 0" not in items[0].guidance.text  # type: ignore[union-attr]
    (line,) = told
    assert "no gold in train" in line


def test_ties_and_gold_that_contradicts_itself_teach_nobody(lake: Lake, stub: Stub) -> None:
    tied, torn = (Ground(lake, [ask_of("cats", i)], "train") for i in range(2))
    add_gold(lake, tied, 0.5)
    add_gold(lake, torn, 1.0)
    add_gold(lake, torn, 0.0, "import:x/another")
    new = Ground(lake, [ask_of("cats", 2)], "train")
    assert list(list_examples(look_up(lake, make_recipe_at(stub), new)).values()) == [()]


def test_the_budget_holds_and_what_alone_exceeds_it_is_passed_over(lake: Lake, stub: Stub) -> None:
    short = Ground(lake, [ask_of("cats", i) for i in range(4)], "train")
    long = Ground(lake, [ask_of("cats", 7) + " cats" * 200], "train")
    add_gold(lake, short)
    add_gold(lake, long)
    new = Ground(lake, [ask_of("cats", 9) + " cats" * 200], "train")
    recipe = make_recipe_at(stub, example_tokens=100)
    (item,) = look_up(lake, recipe, new)
    assert item.guidance and 1 <= len(item.guidance.examples) < 4
    assert long.items[0].target not in item.guidance.examples


def test_gold_that_comes_is_asked_with_once_and_what_was_said_last_counts(
    lake: Lake, stub: Stub
) -> None:
    """First without gold; then with; more gold costs nothing; withdrawn gold is asked without."""
    new = Ground(lake, [ask_of(topic, 9) for topic in TOPICS], "train")
    recipe = make_recipe_at(stub)
    (judging,) = load_judges(recipe, None)
    assert judge(lake, recipe, new).extra["calls"] == 6
    assert judge(lake, recipe, new).extra["calls"] == 0
    gold = Ground(lake, [ask_of("cats", i) for i in range(3)], "train")
    add_gold(lake, gold)
    assert judge(lake, recipe, new).extra["calls"] == 6
    first = list_examples(look_up(lake, recipe, new))
    assert all(len(shown) == 3 for shown in first.values())
    add_gold(lake, Ground(lake, [ask_of(topic, i) for topic in TOPICS for i in range(3)], "train"))
    assert judge(lake, recipe, new).extra["calls"] == 0
    assert list_examples(look_up(lake, recipe, new)) == first
    rows = lake.query("SELECT detail FROM judgments WHERE kind = 'llm'")
    assert len(rows) == 12
    (judging,) = load_judges(recipe, None)
    counted = find_judgments(lake, recipe, [judging], new.pairs).filter(kind="llm")
    assert len(counted) == 6
    assert {len(json.loads(detail)["examples"]) for detail in counted["detail"]} == {3}
    card = measure_annotators(lake).cards.filter(annotator=judging.annotator)
    assert card["n"][0] == 6
    gone = first[new.items[0].target][0]
    lake._cursor().execute("DELETE FROM judgments WHERE gold AND judgment_id LIKE ?", [f"%{gone}"])
    assert judge(lake, recipe, new).extra["calls"] == 6
    assert not any(gone in shown for shown in list_examples(look_up(lake, recipe, new)).values())
    assert judge(lake, recipe, new).extra["calls"] == 0


def test_a_judge_that_is_not_guided_is_told_nothing(lake: Lake, stub: Stub) -> None:
    add_gold(lake, Ground(lake, [ask_of("cats", 0)], "train"))
    new = Ground(lake, [ask_of("cats", 1)], "train")
    plain = make_recipe_at(stub, examples=None)
    assert look_up(lake, plain, new) == new.items
    ranked = make_recipe_at(stub, examples=None, method="ranking")
    described = ranked.model_copy(update={"attributes": make_attributes()})
    assert look_up(lake, described, new) == new.items


def make_attributes() -> Any:
    return make_recipe("http://127.0.0.1:9/v1", attributes={"model": "m"}).attributes


def test_attributes_are_shown_to_a_judge_without_examples_too(lake: Lake, stub: Stub) -> None:
    new = Ground(lake, [ask_of("cats", 1)], "train")
    recipe = make_recipe_at(stub, examples=None)
    (bare,) = load_judges(recipe, None)
    recipe = recipe.model_copy(update={"attributes": make_attributes()})
    (guided,) = load_judges(recipe, None)
    assert guided.annotator != bare.annotator
    writer = guided.guide.writer  # type: ignore[attr-defined]
    (target,) = [item.target for item in new.items]
    row = {"attributes_id": "1", "target": target, "prompt_id": new.items[0].prompt_id,
           "annotator": writer, "task_category": "pets", "objectivity": "objective",
           "controversiality": "low", "desired_attributes": ["brief"],
           "guideline": "Count the cats.", "valid": True}  # fmt: skip
    other = {**row, "attributes_id": "2", "annotator": "somebody", "guideline": "Count dogs."}
    lake.append({"attributes": [row, other]}, run=new_run(), stage="attributes")
    (item,) = look_up(lake, recipe, new)
    text = item.guidance.text  # type: ignore[union-attr]
    assert "objective" in text and "Count the cats." in text and "dogs" not in text
    assert "this person, in this situation" in text  # what people are told of advice


def test_a_template_of_ones_own_must_show_the_guidance(tmp_path: Path, stub: Stub) -> None:
    (tmp_path / "mine.jinja").write_text("{{ prompt }} {{ first }} {{ second }}")
    recipe = make_recipe_at(stub, template="mine.jinja")
    with pytest.raises(TemplateBroken, match=r"never shows .* guidance"):
        load_judges(recipe, tmp_path)
    (tmp_path / "mine.jinja").write_text("{{ guidance }} {{ prompt }} {{ first }} {{ second }}")
    load_judges(recipe, tmp_path)


@pytest.mark.parametrize(
    "spec",
    [{"examples": 0}, {"examples": 9}, {"example_tokens": 99},
     *({"examples": 2, "method": name} for name in ("ranking", "rubric", "policy", "failures"))],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(spec: dict[str, Any]) -> None:
    content = make_recipe("http://127.0.0.1:9/v1").model_dump(mode="json")
    content["judges"] = [{"model": "m", **spec}]
    with pytest.raises(RecipeError):
        parse_recipe(content)
