"""Invented people, from pairs to the report: what was planted about them is what it tells.

With `ASSAY_IMAGES=docs/images` the picture of the people's section is made anew.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.label.people import learning
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from pipelines.ship.report import gather_facts, render_report
from schemas.recipe import ReviewSpec, parse_recipe
from tests.annotators.desk.browser import open_browser
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import fill_lake, list_pushed, open_desk
from tests.pipelines.label.people.test_golds import record, say
from tests.pipelines.label.people.test_questions import fill
from tests.pipelines.ship.test_report import EXAM, RECIPE, append, make_version

PAIRS, KNOWN = 90, 60
FLIP = {"a": "b", "b": "a"}
SPEC = ReviewSpec(overlap=2, gold_rate=0.4, min_alpha=0.3)
SKILL = {"ada": 0.95, "ben": 0.9, "mal": 0.55, "cy": 0.92}
SPEED = {"ada": 42.0, "ben": 35.0, "mal": 6.0, "cy": 50.0}
JUDGES = ("pairwise:large", "pairwise:small", "pairwise:twin")
Pair = dict[str, Any]


class Crowd:
    """People who are right as often as `SKILL` says, and take as long as `SPEED` does."""

    def __init__(self, desk: FakeDesk, better: dict[str, str]) -> None:
        self.desk, self.better, self.dice = desk, better, random.Random(7)

    def answer(self, review: Pair, person: str) -> None:
        seconds = SPEED[person] * self.dice.lognormvariate(0, 0.4)
        if self.dice.random() < 0.03:
            self.desk.submit(review["review_id"], person, seconds / 4, cancelled=True)
            return
        right = self.dice.random() < SKILL[person]
        side = self.better[review["pair_id"]]
        choice = "left" if (side if right else FLIP[side]) == review["left"] else "right"
        said = {"choice": choice, "strength": self.dice.choice([1, 1, 2])}
        if self.dice.random() < 0.05:
            said = {"choice": None, "undecided": True}
        self.desk.submit(review["review_id"], person, seconds, **said)


def settle(lake: Lake, desk: FakeDesk, spec: ReviewSpec = SPEC) -> None:
    pull_reviews(lake, new_run(), desk)
    assess_batches(lake, new_run(), spec)


def judge(lake: Lake, pairs: list[Pair]) -> None:
    """One judge is right 85 times in 100; the other two err together, and are right 50 times."""
    dice = random.Random(3)
    said = []
    for place, pair in enumerate(pairs):
        truth = float(pair["better"] == "a")
        coin = dice.random() < 0.5
        rights = (dice.random() < 0.85, coin, coin if dice.random() < 0.95 else not coin)
        for name, right in zip(JUDGES, rights, strict=True):
            p_a = truth if right else 1 - truth
            said += [
                {**{key: pair[key] for key in ("prompt_id", "response_a", "response_b")},
                 "judgment_id": f"{name}-{place}-{order}", "annotator": name, "kind": "llm",
                 "p_a": 0.1 + 0.8 * p_a, "tie": False, "valid": True, "order": order,
                 "sample_index": 0}
                for order in ("ab", "ba")
            ]  # fmt: skip
    lake.append({"judgments": said}, run=new_run(), stage="test")


def publish(lake: Lake, version: int, pairs: list[Pair], batch: str | None) -> None:
    recipe = parse_recipe(
        {**RECIPE, "review": SPEC.model_dump(), "label": {"policy": "gold_first"}}
    ).model_dump(mode="json")
    rows = [
        {"name": "helpful", "version": version, "prompt_id": pair["prompt_id"],
         "pair_id": pair["pair_id"], "chosen_id": pair[f"response_{pair['better']}"],
         "rejected_id": pair[f"response_{FLIP[pair['better']]}"], "probability": 0.9, "margin": 0.8,
         "weight": 1.0, "tier": "gold" if batch else "silver",
         "decided_by": "human" if batch else "consensus",
         "annotators": [f"people:{batch}"] if batch else list(JUDGES),
         "licence": "mit", "split": "train", "source": "test", "category": "advice"}
        for pair in pairs
    ]  # fmt: skip
    made = make_version(
        lake.snapshot(), name="helpful", version=version, rows=len(rows),
        fingerprint=f"{version}" * 32, recipe=json.dumps(recipe),
    )  # fmt: skip
    append(lake, {"version_pairs": rows, "versions": [made]})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, str]]:
    """Two batches of preferences, one of them released, and one of first wrong steps."""
    with (
        pytest.MonkeyPatch.context() as patch,
        open_desk(tmp_path_factory.mktemp("people"), patch) as (lake, desk),
    ):
        made = fill_lake(lake, PAIRS, gold=KNOWN)
        judge(lake, made)
        publish(lake, 1, made[:20], None)
        crowd = Crowd(desk, {pair["pair_id"]: pair["better"] for pair in made})
        push_reviews(lake, new_run(), desk, SPEC, title="Helpfulness, spring")
        for review in list_pushed(lake):
            crowd.answer(review, "ada")
            crowd.answer(review, crowd.dice.choice(["ben", "mal", "mal", "mal"]))
        done: set[str] = set()
        for _ in range(3):  # in mal's place, then on what is torn
            settle(lake, desk)
            push_reviews(lake, new_run(), desk, SPEC, title="Helpfulness, spring")
            for review in list_pushed(lake):
                again = review["role"] == "adjudication" or review["round"]
                if again and review["review_id"] not in done:
                    crowd.answer(review, "cy")
                    done.add(review["review_id"])
        settle(lake, desk)
        (first,) = lake.query("FROM batches")["batch_id"]
        release_batch(lake, new_run(), first, "Mira Okafor", SPEC)
        steps(lake, desk)
        gold = set(lake.query("FROM releases WHERE outcome = 'gold'")["pair_id"])
        kept = [pair for pair in made if pair["pair_id"] in gold]
        publish(lake, 2, kept[:60], first)
        for number, score in ((1, 0.62), (2, 0.71)):
            ids = {"exam_id": f"e{number}", "version": number, "model_id": f"m{number}"}
            append(lake, {"exams": [{**EXAM, **ids, "name": "helpful", "score": score, "n": 240}]})
        truth = {text: float(key == pair[f"response_{pair['better']}"])
                 for pair in made for key, text in pair["responses"].items()}  # fmt: skip

        def embed(texts: list[str]) -> list[list[float]]:
            dice = random.Random(1)
            return [[truth[text] + dice.gauss(0, 0.6), dice.gauss(0, 1)] for text in texts]

        trace = learning.trace_learning
        patch.setattr(
            "pipelines.ship.report_people.trace_learning", lambda *args: trace(*args, embed)
        )
        facts = gather_facts(lake, "helpful")
        yield facts["people"], render_report(facts)


def steps(lake: Lake, desk: FakeDesk) -> None:
    """A batch of first wrong steps: its gold is recorded, and ben does not count from 0."""
    from pipelines.label.people.queueing import queue_reviews

    view = fill(lake, 12, 2)
    known = view.labels.head(6)
    record(lake, *[say(p, a, score=1.0, criterion="first_wrong_step")
                   for p, a in known.select("prompt_id", "response_a").iter_rows()])  # fmt: skip
    view.labels = view.labels.tail(6)
    queue_reviews(lake, new_run(), view, "first_wrong_step")
    push_reviews(lake, new_run(), desk, SPEC, title="Steps, spring", question="first_wrong_step")
    for place, review in enumerate(list_pushed(lake)):
        if review["question"] == "first_wrong_step":
            index = 1 if review["role"] == "gold" else place % 3
            desk.submit(review["review_id"], "ada", 70.0, index=index)
            desk.submit(review["review_id"], "ben", 50.0, index=index + place % 2)
    settle(lake, desk)


def test_the_report_tells_what_was_planted(page: tuple[Pair, str]) -> None:
    people, html = page
    asides = {row["annotator"] for row in people["people"] if row["aside"]}
    assert asides == {"person-mal"}
    voices = {row["annotator"]: row["accuracy"] for row in people["voices"]}
    assert min(voices[f"person-{who}"] for who in ("ada", "ben", "cy")) > voices["pairwise:large"]
    assert voices["pairwise:large"] > voices["pairwise:small"] and voices["person-mal"] < 0.75
    first, second = people["batches"]
    assert first["alpha"]["value"] > 0.3 and first["ordinal"]["value"] > 0.3 and first["kappas"]
    assert second["question"] == "first_wrong_step" and second["ordinal"]["items"] > 5
    assert not second["kappas"]
    total = people["ledger"]["all"]
    assert total["minutes"] == pytest.approx(sum(
        value for name, value in total.items() if name.startswith("minutes_")))  # fmt: skip
    assert total["n_kept"] == 60 and total["minutes_set_aside"] > 0 < total["minutes_skipped"]
    labels = people["learning"]["labels"]
    assert len(labels) > 3 and labels[-1]["n"] > 50
    assert labels[-1]["accuracy"] > labels[0]["high"], "gold tells the twins from the judge"
    assert people["learning"]["model"][-1]["accuracy"] > 0.7
    assert html.count('<details id="batch-') == 2 and html.count('<details id="person-') == 4


@pytest.mark.skipif("ASSAY_IMAGES" not in os.environ, reason="makes a picture")
def test_the_picture_of_the_section_is_made(page: tuple[Pair, str], tmp_path: Path) -> None:
    _, html = page
    head, section = html.partition("<body>")[0], html[html.index('<section id="people">') :]
    section = section[: section.index("</section>")] + "</section>"
    for name in ("batch-1", "person-mal"):
        section = section.replace(f'<details id="{name}"', f'<details open id="{name}"')
    file = tmp_path / "people.html"
    file.write_text(f"{head}<body>{section}</body></html>")
    with open_browser() as browser:
        tab = browser.new_page(viewport={"width": 1180, "height": 900})
        tab.goto(file.as_uri())
        tab.screenshot(path=Path(os.environ["ASSAY_IMAGES"]) / "people-report.png", full_page=True)
