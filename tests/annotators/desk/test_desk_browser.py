"""What annotators see and do, in a real browser at a real desk.

With `ASSAY_IMAGES=docs/images` the pictures of the documentation are made anew.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from annotators.desk.annotations import Annotation, pull_annotations
from annotators.desk.client import Desk, ask, connect_desk, list_tasks, name_person, speak_to
from annotators.desk.projects import ensure_project
from annotators.desk.questions import QUESTIONS, make_task, split_steps
from annotators.desk.tasks import push_tasks
from annotators.guidelines import read_guideline
from annotators.rubrics.rubric import Criterion, choose_rubric, load_rubrics
from engines.services import Service
from tests.annotators.desk.browser import (
    SIZE,
    Account,
    Sitting,
    flatten,
    make_account,
    open_browser,
    sign_in,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("label_studio")]

PROMPT = "How do I tell my neighbour that their music is too loud? I do not want to start a war."
GOOD = (
    "Knock on a quiet evening, not while it is loud.\n\nSay which hours disturb you, offer to send "
    "a message when it is too much, and ask what they can live with. A call to the landlord is the "
    "last step, not the first."
)
BAD = "Neighbours can be difficult, and everybody deserves peace.\n\nI feel with you!"
SUM = "Sure 😀, here is 12 × 12.\r\n\r\n12 × 10 = 120 and 12 × 2 = 24.\n\nTogether that is $134."
ASIDE = "https://evil.example"
SCRIPTS = (
    f"<script>window.pwned = 1; fetch('{ASIDE}/a')</script>"
    f"<img src='{ASIDE}/b.png' onerror='window.pwned = 1'><svg onload='window.pwned = 1'></svg>"
    f"<iframe src='{ASIDE}/c'></iframe><link rel='stylesheet' href='{ASIDE}/d.css'>"
    f"<style>@import url({ASIDE}/e.css); body {{ display: none }}</style>"
    f"![x]({ASIDE}/f.png) [go](javascript:window.pwned=1) {{{{7*7}}}} ${{window.pwned=1}} $right\n"
    "</div></span><h1 onclick='alert(1)'>&lt;b&gt; &#60;script&#62;"
)
TURNED = "\u202eright is better\u202c \u2066 never closed \u202b \u05d0\u05d1\u05d2"
BOMB = "> " * 3000 + "[" * 5000 + "*_`" * 3000 + "\n" + "|a" * 3000 + "\n" + "|-" * 3000
LONG = "x" * 50_000 + " " + "word\n" * 10_000
HOSTILE = {
    "scripts": SCRIPTS, "turned": TURNED, "bomb": BOMB, "long": LONG, "address": f"{ASIDE}/g.png",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A desk with projects that ask the five questions, and two annotators who are signed in."""

    desk: Desk
    browser: Any
    word: str
    mouse: Sitting
    keys: Sitting
    people: dict[str, Account]

    def push(self, question: str, title: str, *shown: tuple[str, ...], **options: Any) -> int:
        """A project with a task for each group of responses, in the order shown."""
        tasks = [
            make_task(
                question, f"{question}-{i}", prompt=options.get("prompt", PROMPT),
                guideline=options.get("guideline")
                or read_guideline(options.get("category", "advice")),
                responses=responses,
            )
            for i, responses in enumerate(shown)
        ]  # fmt: skip
        predictions = options.get("predictions")
        project = ensure_project(
            self.desk, f"{title} {self.word}", question, criteria=options.get("criteria", ()),
            show_predictions=options.get("show", False),
        )  # fmt: skip
        push_tasks(self.desk, project, tasks, predictions, overlap=2)
        return project

    def pull(self, project: int) -> dict[tuple[str, str], Annotation]:
        """What each of the two said of each review."""
        names = {name_person(self.desk.name, a.user_id): who for who, a in self.people.items()}
        found = pull_annotations(self.desk, project).annotations
        return {(names[a.person], str(a.review_id)): a for a in found}


@pytest.fixture(scope="module")
def scene(label_studio: Service) -> Iterator[Scene]:
    with open_browser() as browser:
        desk = connect_desk(label_studio.url, label_studio.token or "")
        people = {who: make_account(label_studio, who) for who in ("mouse", "keys")}
        sittings = [sign_in(browser, label_studio, account) for account in people.values()]
        word = uuid.uuid4().hex[:10]
        yield Scene(desk, browser, word, *sittings, people)
        with speak_to(desk) as client:
            for project in ask(client, "GET", "/api/projects", params={"title": word})["results"]:
                ask(client, "DELETE", f"/api/projects/{project['id']}")
        for sitting in sittings:
            sitting.check_calm(desk.url)


def keep_picture(sitting: Sitting, name: str) -> None:
    folder = os.environ.get("ASSAY_IMAGES")
    if folder:
        sitting.shot(Path(folder) / name)


def test_pairs_are_judged_by_mouse_and_by_keyboard(scene: Scene) -> None:
    rubric = choose_rubric(load_rubrics(), "advice")
    project = scene.push("preference", "Pairs", (GOOD, BAD), (BAD, GOOD), criteria=rubric.criteria)
    page = scene.mouse.page
    scene.mouse.open_project(project)
    assert page.locator(".assay-guide").inner_text() == read_guideline("advice")
    page.get_by_text("Left, by far").click()
    page.locator(".assay-criterion").nth(1).get_by_text("▶").first.click()
    page.get_by_text("web search").click()
    page.get_by_placeholder("Why?").fill("It says <b>what</b> to do.")
    keep_picture(scene.mouse, "annotate-pair.png")
    scene.mouse.submit()
    scene.mouse.wait_for_next("preference-1")
    page.locator(".assay-answer label").nth(3).click()
    scene.mouse.submit()

    page = scene.keys.page
    scene.keys.open_project(project)
    for key in ("1", "w", "Shift+Q", "6", "j"):  # as the other did; the last two mean nothing
        page.keyboard.press(key)
    page.get_by_placeholder("Why?").fill("1 and 3")
    page.keyboard.press("Tab")
    scene.keys.submit(by_keyboard=True)
    scene.keys.wait_for_next("preference-1")
    page.locator(".assay-answer label").first.click()
    page.keyboard.press("3")  # keys still work after a click
    scene.keys.submit(by_keyboard=True)

    said = scene.pull(project)
    assert {
        who: (a.answer or {}).get("choice") for who, a in said.items()
    } == {
        ("mouse", "preference-0"): "left", ("mouse", "preference-1"): "right",
        ("keys", "preference-0"): "left", ("keys", "preference-1"): "tie",
    }  # fmt: skip
    assert all(a.problem is None and a.seconds and a.seconds > 0 for a in said.values())
    first = said["mouse", "preference-0"]
    assert first.comment == "It says <b>what</b> to do."
    assert first.answer == {
        "choice": "left", "strength": 2, "undecided": False, "tools": ["search"],
        "ratings": {rubric.asked[1].title: -1},
    }  # fmt: skip
    assert said["mouse", "preference-1"].answer["strength"] == 1
    assert said["keys", "preference-0"].answer["ratings"] == {
        rubric.asked[0].title: 1, rubric.asked[3].title: 2,
    }  # fmt: skip


def test_the_other_questions_are_answered(scene: Scene) -> None:
    page, problem = scene.keys.page, {"prompt": "What is 12 × 12?", "category": "arithmetic"}
    project = scene.push("correctness", "Correct", (SUM,), **problem)
    scene.keys.open_project(project)
    keep_picture(scene.keys, "annotate-correctness.png")
    page.keyboard.press("2")
    scene.keys.submit(by_keyboard=True)
    assert scene.pull(project)["keys", "correctness-0"].answer["correct"] is False

    project = scene.push("first_wrong_step", "Steps", (SUM,), (SUM,), **problem)
    scene.keys.open_project(project)
    keep_picture(scene.keys, "annotate-steps.png")
    page.get_by_text("Together that is $").click()
    scene.keys.submit()
    scene.keys.wait_for_next("first_wrong_step-1")
    page.keyboard.press("a")
    scene.keys.submit(by_keyboard=True)
    said = scene.pull(project)
    assert said["keys", "first_wrong_step-0"].answer["index"] == len(split_steps(SUM)) - 1
    assert said["keys", "first_wrong_step-1"].answer["index"] is None

    project = scene.push("ranking", "Ranking", (BAD, GOOD, BAD + "!", "Move away."))
    scene.keys.open_project(project)
    for i, rank in enumerate((2, 1, 2, 4)):
        page.locator(".assay-ranked").nth(i).locator("label").nth(rank - 1).click()
    keep_picture(scene.keys, "annotate-ranking.png")
    scene.keys.submit()
    answer = scene.pull(project)["keys", "ranking-0"].answer
    assert (answer["ranks"], answer["order"]) == ([2, 1, 2, 4], [1, 0, 2, 3])

    project = scene.push("spans", "Spans", (SUM,), (SUM,), **problem)
    scene.keys.open_project(project)
    mark(page, "1", "12 × 2", "12 × 2 = 24")
    mark(page, "4", "12.", "Together")  # over the ends of lines
    keep_picture(scene.keys, "annotate-spans.png")
    scene.keys.submit()
    scene.keys.wait_for_next("spans-1")
    page.keyboard.press("9")
    scene.keys.submit(by_keyboard=True)
    said = scene.pull(project)
    assert said["keys", "spans-1"].answer["spans"] == []
    assert said["keys", "spans-0"].problem is None, said["keys", "spans-0"].raw
    over, within = said["keys", "spans-0"].answer["spans"]
    assert (within["label"], over["label"]) == ("factual", "form")
    for span in (over, within):  # characters of the text as it was sent
        assert span["text"] == SUM[span["start"] : span["end"]] and "12" in span["text"]
    assert "\r\n\r\n" in over["text"]


def mark(page: Any, key: str, begins: str, ends: str) -> None:
    """Choose a label by its key and draw it from where one text begins to where another ends."""
    places = page.locator(".assay-one .lsf-richtext__line").evaluate_all(
        """(lines, [begins, ends]) => [begins, ends].map((text, isEnd) => {
            for (const line of lines) {
                const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
                for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                    const at = node.data.indexOf(text);
                    if (at < 0) continue;
                    const range = document.createRange();
                    range.setStart(node, at);
                    range.setEnd(node, at + text.length);
                    const box = range.getBoundingClientRect();
                    return [isEnd ? box.right : box.left, box.top + box.height / 2];
                }
            }
        })""",
        [begins, ends],
    )
    marks = page.locator(".assay-one .htx-highlight")
    before = marks.count()
    page.keyboard.press(key)
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=5)
    page.mouse.up()
    page.wait_for_function(
        f"document.querySelectorAll('.assay-one .htx-highlight').length > {before}"
    )


def test_predictions_are_seen_where_they_are_wanted_only(scene: Scene) -> None:
    opinions = {"preference-0": {"choice": "right", "strength": 2}}
    page = scene.mouse.page
    for show, checked in ((False, 0), (True, 1)):
        title = f"Judged {show}"
        project = scene.push("preference", title, (GOOD, BAD), predictions=opinions, show=show)
        scene.mouse.open_project(project)
        assert page.locator(".assay-answer input:checked").count() == checked


def test_hostile_text_does_nothing_and_is_shown_as_it_is(scene: Scene) -> None:
    page, prompt = scene.mouse.page, SCRIPTS + BOMB
    texts = list(HOSTILE.values())
    shown = {"preference": [(SCRIPTS, LONG), (HOSTILE["address"], TURNED)], "ranking": [texts]}
    for question in QUESTIONS:
        groups = shown.get(question, [["\n\n".join(texts)]])
        project = scene.push(question, f"Hostile {question}", *map(tuple, groups), prompt=prompt)
        with speak_to(scene.desk) as client:
            stored = [task["data"] for task in list_tasks(client, project, "id,data")]
        for data, responses in zip(stored, groups, strict=True):
            assert data["prompt"] == prompt
            sent = [*(data.get(key) for key in ("left", "right", "response")),
                    *(response["text"] for response in data.get("responses", ()))]  # fmt: skip
            assert [text for text in sent if text is not None] == list(responses)

        scene.mouse.open_project(project)
        found = {flatten(text) for text in page.locator(".lsf-richtext").all_inner_texts()}
        assert flatten(prompt) in found
        if question == "first_wrong_step":
            steps = flatten(page.locator(".assay-steps").inner_text())
            assert all(flatten(step) in steps for step in split_steps(groups[0][0]))
        else:
            assert {flatten(text) for text in groups[0]} <= found
        turned = any(TURNED in text for text in groups[0])
        assert ("U+202E" in page.locator(".assay-guide").inner_text()) == turned
        assert page.locator(".assay :is(script, img, iframe, link, a, h1)").count() == 0
        assert page.locator(".assay-tools").is_visible()
        assert page.evaluate("window.pwned") is None
        if question == "preference":
            check_in_sight(page, ".assay-guide", ".assay-prompt", ".assay-sides", ".assay-answer")
            page.goto(f"/projects/{project}/data")  # the table of all tasks
            page.get_by_text(f"{question}-0").first.wait_for()
            assert page.evaluate("window.pwned") is None

    # were a text ever taken for HTML, the desk's own policy would stop what it asks for
    left, address = len(scene.mouse.requests), f"{ASIDE}/seen.png"
    with page.expect_event("requestfailed") as failed:
        page.evaluate(
            "html => document.body.insertAdjacentHTML('beforeend', html)",
            f"<img src='{address}' onerror='window.pwned = 1'>",
        )
    assert (failed.value.url, failed.value.failure) == (address, "csp")
    assert page.evaluate("window.pwned") is None
    assert scene.mouse.requests[left:] == [address], "the watch on requests works"
    del scene.mouse.requests[left:]


def test_hostile_words_of_a_recipe_do_nothing_and_all_comes_back_as_it_was_sent(
    scene: Scene,
) -> None:
    """Guidelines and criteria may be written by models; a guideline is chosen by a category."""
    assert read_guideline(SCRIPTS) == read_guideline("*")  # a category is never shown
    criteria = [
        Criterion(f"<script>window.pwned = 1</script> '\" $left {number}", text, "core")
        for number, text in enumerate((SCRIPTS, TURNED + BOMB))
    ]
    guideline = SCRIPTS + TURNED + BOMB
    shown = [(SCRIPTS, BOMB), (LONG, TURNED)]
    project = scene.push(
        "preference", "Hostile recipe", *shown, prompt=LONG + SCRIPTS, guideline=guideline,
        criteria=criteria,
    )  # fmt: skip
    page = scene.keys.page
    scene.keys.open_project(project)
    words = flatten(page.locator(".assay-guide").inner_text())
    assert flatten(guideline) in words and "U+202E" in words
    rated = flatten(page.locator(".assay-criteria").inner_text())
    for criterion in criteria:
        assert flatten(criterion.title) in rated and flatten(criterion.description) in rated
    assert page.locator(".assay :is(script, img, iframe, link, a, h1)").count() == 0
    page.get_by_text("Left, by far").click()
    page.locator(".assay-criterion").nth(1).get_by_text("▶").first.click()
    page.get_by_placeholder("Why?").fill(SCRIPTS)
    scene.keys.submit()
    scene.keys.wait_for_next("preference-1")
    page.locator(".assay-answer label").nth(2).click()
    scene.keys.submit()
    assert page.evaluate("window.pwned") is None

    said = scene.pull(project)
    assert [a.problem for a in said.values()] == [None, None]
    first = said["keys", "preference-0"]
    assert first.answer["ratings"] == {criteria[1].title: -1}
    assert first.comment == SCRIPTS
    with speak_to(scene.desk) as client:
        path = f"/api/projects/{project}/export"
        exported = ask(client, "GET", path, params={"exportType": "JSON"})
    assert len(exported) == 2
    for task, sides in zip(sorted(exported, key=lambda t: t["id"]), shown, strict=True):
        assert (task["data"]["left"], task["data"]["right"]) == sides  # byte for byte
        assert task["data"]["prompt"] == LONG + SCRIPTS
        assert task["data"]["guideline"].endswith(guideline)
    page.goto(f"/projects/{project}/data")
    page.get_by_text("preference-0").first.wait_for()
    assert page.evaluate("window.pwned") is None


def check_in_sight(page: Any, *parts: str) -> None:
    """However long the texts, nobody has to scroll the page for what the question is about."""
    page.set_viewport_size({"width": 1280, "height": 720})
    bottom = page.locator(".lsf-bottombar").bounding_box()["y"]
    for part in parts:
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= bottom, f"{part} is out of sight"
    page.set_viewport_size(SIZE)
