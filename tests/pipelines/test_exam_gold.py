"""Nothing of the exam's gold reaches a judge's prompt, a retrieval, a calibration, a card, a
rubric, a weight or a label elsewhere: the real steps, twice, and between the two only the exam's
labels are turned round.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.clean import weighing
from pipelines.clean.learned_weights import Learned
from pipelines.label.evolving import find_gold
from pipelines.label.juries import JURIES
from pipelines.label.labelling import apply_policy
from pipelines.label.people.fits import name_fit
from pipelines.label.people.golds import find_known
from pipelines.label.people.voices import find_voices
from pipelines.label.policies import POLICIES
from pipelines.label.reliability import measure_annotators, read_cards, record_cards
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from pipelines.steps import Work, open_work, run_step
from schemas.recipe import PrototypeSpec, Recipe
from tests.conftest import make_recipe
from tests.pipelines.label.vectors import embed_by_words
from tests.stub_server import run_stub

PAIRS = 52
STEPS = ("import", "dedup", "split", "filter_responses", "repeats", "verify", "attributes", "judge",
         "label")  # fmt: skip
MARK = re.compile(r"mark\d{3}")
SYLLABLES = ("ba", "de", "fi", "go", "lu", "mo", "na", "pe", "ri", "so", "tu", "wa", "ze", "ka")


@dataclass(frozen=True)
class Ended:
    """What a run of the steps came to: whatever may learn from gold, and the exam's prompts."""

    exam: set[str]
    bodies: list[str]
    learned: dict[str, Any]
    labels: dict[str, dict[str, dict[str, float | None]]]
    taught: list[np.ndarray]


def write_pool(file: Path, exam: set[str]) -> None:
    """A machine's word on pairs, each with a mark of its own in all its texts, and recorded gold of
    three in four; gold turned round where the mark is of `exam`."""
    rng = random.Random(7)
    lines = []
    for i in range(PAIRS):
        mark = f"mark{i:03}"
        word = lambda: "".join(rng.choice(SYLLABLES) for _ in range(3))  # noqa: E731
        topic = ("cats", "dogs", "tea")[i % 3]
        pair = {
            "prompt": f"{topic} {mark} {' '.join(word() for _ in range(12))}?",
            "response_a": f"{mark} {' '.join(word() for _ in range(8))}.",
            "response_b": f"{mark} {' '.join(word() for _ in range(8))}.",
            "category": topic,
        }
        truth = float(rng.random() < 0.5)
        robot = 0.1 + 0.8 * (truth if rng.random() < 0.8 else 1 - truth)
        said = 1 - truth if mark in exam else truth
        if i % 4:
            expert = {"annotator": "expert", "kind": "human", "p_a": said, "gold": True}
            lines.append({**pair, **expert})
        for order in ("ab", "ba"):
            lines.append(
                {**pair, "annotator": "robot", "kind": "llm", "p_a": robot, "order": order}
            )
    file.write_text("\n".join(json.dumps(line) for line in lines))


def make_exam_recipe(url: str, pool: Path) -> Recipe:
    judges = [{"model": "m", "examples": 4}, {"model": "m", "method": "yes_prob", "examples": 2},
              {"model": "m", "method": "generative", "k": 2, "examples": 3}]  # fmt: skip
    return make_recipe(
        models={"m": {"model": "stub", "url": url, "concurrency": 32}},
        prompts={"imports": [{"path": str(pool), "name": "x", "layout": "judgments",
                              "licence": "MIT"}]},
        rollouts=[],
        attributes={"model": "m"},
        judges=judges,
        split={"test": 0.4},
        label={"policy": "gold_first"},
        mix={"weigh": "source"},
    )  # fmt: skip


def say_in_person(lake: Lake, exam: set[str]) -> None:
    """One of our own people, who needs no release where no batches are, says what gold does."""
    gold = lake.query("SELECT j.*, messages FROM judgments j JOIN prompts USING (prompt_id) "
                      "WHERE j.gold ORDER BY judgment_id")  # fmt: skip
    rows = [
        {**{key: row[key] for key in ("prompt_id", "response_a", "response_b", "p_a")},
         "judgment_id": f"ana{row['judgment_id']}", "annotator": "person-ana", "kind": "human",
         "tie": False, "valid": True, "sample_index": 0}
        for row in gold.iter_rows(named=True)
        if int(MARK.search(row["messages"][0]["content"])[0][4:]) % 2  # type: ignore[index]
    ]  # fmt: skip
    lake.append({"judgments": rows}, run=new_run(), stage="test")


def hold_run(folder: Path, exam: set[str], patch: pytest.MonkeyPatch) -> Ended:
    folder.mkdir()
    write_pool(folder.parent / "pool.jsonl", exam)
    bodies = folder / "bodies"
    taught: list[np.ndarray] = []

    def learn(vectors: Any, domains: Any, gold: Any, gold_ids: Any, **_: Any) -> Learned:
        taught.extend([vectors, gold])
        table = pl.DataFrame({"domain": ["x"], "weight": [2.0]})
        return Learned(table, True, *[0.0] * 4, taught=len(gold), held_out=0)

    patch.setattr(weighing, "learn_weights", learn)
    with run_stub(judges=True, bodies=str(bodies)) as stub:
        recipe = make_exam_recipe(stub.url, folder.parent / "pool.jsonl")
        with open_work(str(folder / "lake"), recipe, None) as work:
            for step in STEPS:
                run_step(work, step)
                if step == "import":
                    say_in_person(work.lake, exam)
            return look_around(work, bodies.read_text().splitlines(), taught)


def look_around(work: Work, bodies: list[str], taught: list[np.ndarray]) -> Ended:
    lake, recipe = work.lake, work.recipe
    exam = lake.query("SELECT messages FROM prompts JOIN splits USING (prompt_id) "
                      "WHERE split = 'test'")["messages"]  # fmt: skip
    found = measure_annotators(lake)
    record_cards(lake, new_run(), found)
    view = work.look()
    labels = {}
    ways = [(policy, None) for policy in sorted({**POLICIES, **JURIES})] + [("imported", "platt")]
    for policy, calibration in ways:
        spec = recipe.label.model_copy(update={"policy": policy, "calibration": calibration})
        changed = recipe.model_copy(update={"label": spec})
        judges = [] if calibration else view.judges
        labelled = apply_policy(lake, changed, judges, view.pairs).join(
            view.prompts.select("prompt_id", "split"), on="prompt_id"
        )
        labels[f"{policy} {calibration}"] = {
            split: dict(rows.select("pair_id", "p_a").sort("pair_id").iter_rows())
            for (split,), rows in labelled.group_by("split")
        }
    pairs = view.labelled.with_columns(
        tier=pl.when(pl.col("pair_id").hash(1) % 2 == 0).then("tier").otherwise(pl.lit("silver"))
    )
    weighing.weigh_pairs(lake, work.run, recipe, pairs, view.rollouts)
    said = lake.query(
        "SELECT judgment_id, p_a, detail FROM judgments "
        "WHERE NOT starts_with(annotator, 'import:') AND kind = 'llm' ORDER BY judgment_id"
    )
    voices = find_voices(lake, ["x"])
    return Ended(
        exam={str(MARK.search(messages[0]["content"])[0]) for messages in exam},  # type: ignore[index]
        bodies=bodies,
        learned={
            "judgments": said.rows(),
            "cards": {
                name: {key: value for key, value in card.items() if "seconds" not in key}
                for name, card in read_cards(lake).items()
            },
            "plans": [repr(plan) for plan in found.plans],
            "rubric gold": [(pair.item.target, pair.p_a) for pair in find_gold(lake, ["*"])],
            "hidden gold": find_known(lake, "preference"),
            "prototypes": name_fit(recipe, PrototypeSpec(), voices),
        },
        labels=labels,
        taught=taught,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Ended]:
    folder = tmp_path_factory.mktemp("exam")
    with pytest.MonkeyPatch.context() as patch:
        embed_by_words(patch)
        honest = hold_run(folder / "honest", set(), patch)
        return honest, hold_run(folder / "turned", honest.exam, patch)


def test_no_request_shows_gold_of_the_exam(both: tuple[Ended, Ended]) -> None:
    """A question may be about a pair of the exam; then it is about that one alone, and what stands
    before it is gold of train."""
    honest, turned = both
    exam = honest.exam
    assert 10 < len(exam) < PAIRS - 20 and exam == turned.exam
    shown: set[str] = set()
    guided = asked_of_exam = 0
    for body in honest.bodies:
        text = "\n".join(message["content"] for message in json.loads(body)["messages"])
        before, mark, after = text.rpartition("[End of the examples]")
        examples, (own,) = set(MARK.findall(before)), set(MARK.findall(after))
        assert not examples & exam and own not in examples
        shown |= examples
        guided += bool(mark)
        asked_of_exam += bool(mark) and own in exam
    assert guided == PAIRS * (2 + 2 + 2) and asked_of_exam == len(exam) * 6
    assert len(shown) > 15, "gold of train is shown"
    assert sorted(honest.bodies) == sorted(turned.bodies)


def test_turning_the_exams_labels_changes_nothing_that_is_learned(
    both: tuple[Ended, Ended],
) -> None:
    honest, turned = both
    for name, found in honest.learned.items():
        assert found and found == turned.learned[name], name
    cards = honest.learned["cards"]
    assert cards["import:x/robot"]["calibration"]["platt"]
    teaching = [i for i in range(PAIRS) if i % 4 and f"mark{i:03}" not in honest.exam]
    assert cards["import:x/expert"]["n"] == len(teaching) == len(honest.learned["rubric gold"])
    for one, other in zip(honest.taught, turned.taught, strict=True):
        assert len(one) and np.array_equal(one, other)
    assert sum(map(len, honest.taught)) == PAIRS - len(honest.exam)


def test_turning_the_exams_labels_changes_labels_in_the_exam_alone(
    both: tuple[Ended, Ended],
) -> None:
    honest, turned = both
    for way, labels in honest.labels.items():
        assert labels["train"] == turned.labels[way]["train"], way
        assert len(labels["train"]) == PAIRS - len(honest.exam)
    changed = {way for way, labels in honest.labels.items()
               if labels["test"] != turned.labels[way]["test"]}  # fmt: skip
    assert {f"{way} None" for way in (*JURIES, "imported", "human_first")} <= changed
