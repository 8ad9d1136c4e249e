"""The whole loop with people in it: a real desk, a real browser, and the commands as typed.

Two annotators judge every pair by the texts that they see and part on one, a third settles it,
somebody approves, and the version that is published says what they said.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.desk.client import Desk, ask, connect_desk, name_person, speak_to
from annotators.guidelines import read_guideline
from engines.services import Service
from pipelines.lake.catalogue import open_lake
from schemas.recipe import parse_recipe
from tests.annotators.desk.browser import (
    Account,
    Sitting,
    flatten,
    make_account,
    open_browser,
    sign_in,
)
from tests.conftest import run_here, write_recipe

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("label_studio")]

PAIRS = {  # prompt -> what people find better, and worse
    "My bread does not rise. What should I try first?": (
        "See whether the yeast lives:\n\n1. Stir it into 100 ml of warm water.\n2. Wait.\n\nNo "
        "foam after ten minutes? Buy new yeast.",
        "Bread is a wonderful thing.\n\nBake with love!",
    ),
    "A colleague takes credit for my work. What do I say to them?": (
        "Talk to them alone, name one case, and ask that next time your name is on the slide.",
        "Take <b>theirs</b> too, & tell nobody. 😀",
    ),
    "How do I get red wine out of a linen shirt?": (
        "Blot it, cover it with salt, then pour hot water through from behind.",
        "Rub it hard with a hot iron until it is dry.",
    ),
    "Should I lend my brother $500 that I may need in May?": (
        "Only what you could do without: say so, offer $200 and write down when it comes back.",
        "Families share $everything; never ask when.",
    ),
    "My cat scratches the new sofa. What helps?": (
        "Put a post that she can stretch on right beside it and rub it with catnip.",
        "Shout at her each time.",
    ),
    "I cannot sleep before exams. What can I do tonight?": (
        "Stop learning an hour earlier, write down what worries you, and keep the room cool.",
        "Learn through the night: what you do not know now will not come to you while you sleep.",
    ),
}
TORN = "How do I get red wine out of a linen shirt?"
SAID = {prompt: texts[prompt == TORN] for prompt, texts in PAIRS.items()}  # by the third, too
STREAM = "window.Htx?.task?.dataObj?.review_id"
ORDER = [("left", 2), ("left", 1), ("tie", 0), ("right", 1), ("right", 2)]  # of the choices


@dataclass
class Annotator:
    """Somebody at the desk, and what was on which side of what they saw."""

    account: Account
    sitting: Sitting
    sides: dict[str, str] = field(default_factory=dict)

    def judge(self, project: int, prefers: dict[str, str], *, by_keyboard: bool) -> None:
        """Answer all tasks of a project, one after the other as the desk shows them."""
        page, last = self.sitting.page, None
        self.sitting.open_project(project)
        for place in range(len(prefers)):
            page.wait_for_function(f"last => ({STREAM} ?? last) !== last", arg=last)
            self.sitting.wait_for_task()
            last = page.evaluate(STREAM)
            assert page.locator(".assay-guide").inner_text() == read_guideline("advice")
            (prompt,) = page.locator(".assay-prompt .lsf-richtext").all_inner_texts()
            shown = page.locator(".assay-side .lsf-richtext").all_inner_texts()
            side = ("left", "right")[[*map(flatten, shown)].index(flatten(prefers[prompt]))]
            self.sides[prompt] = side
            choice = ORDER.index((side, 1 + place % 2))
            if by_keyboard:
                page.keyboard.press(str(choice + 1))
            else:
                page.locator(".assay-answer label").nth(choice).click()
            if place == 0:
                self.say_more(by_keyboard=by_keyboard)
            self.sitting.submit(by_keyboard=by_keyboard)
        page.get_by_text("No More Tasks Left in Queue").wait_for()

    def say_more(self, *, by_keyboard: bool) -> None:
        """What nobody has to say: a rating, a tool, a reason."""
        page = self.sitting.page
        if by_keyboard:
            page.keyboard.press("w")
            page.keyboard.press("u")
        else:
            page.locator(".assay-criterion").first.get_by_text("◀").nth(1).click()
            page.get_by_text("web search").click()
        page.get_by_placeholder("Why?").fill("1 of the 2 can be <acted> on.")
        if by_keyboard:
            page.keyboard.press("Tab")  # as the box itself says: keys mean letters in it


@dataclass(frozen=True)
class Loop:
    """A lake of undecided pairs, the desk, and three people who are signed in to it."""

    folder: Path
    desk: Desk
    title: str
    people: tuple[Annotator, ...]

    def assay(self, *arguments: str | Path, fails: bool = False) -> Any:
        """What a command prints, as a program reads it; what it says where it should fail."""
        done = run_here(*arguments, "--lake", self.folder / "lake", "--json")
        assert done.returncode == int(fails), f"{arguments}: {done.stderr}"
        return done.stderr if fails else json.loads(done.stdout)

    def query(self, sql: str) -> pl.DataFrame:
        with open_lake(self.folder / "lake", create=False) as lake:
            return lake.query(sql)

    def list_projects(self) -> dict[str, dict[str, Any]]:
        """The desk's projects of this loop, by what their title adds to its own."""
        with speak_to(self.desk) as client:
            found = ask(client, "GET", "/api/projects", params={"title": self.title})["results"]
        return {row["title"].removeprefix(self.title).strip(): row for row in found}

    def count(self) -> dict[str, tuple[int, int]]:
        """Tasks and annotations, at the desk and in the lake."""
        projects = self.list_projects().values()
        (in_lake,) = self.query(
            "SELECT (SELECT count(DISTINCT review_id) FROM reviews WHERE task_id IS NOT NULL), "
            "(SELECT count(*) FROM judgments WHERE starts_with(annotator, 'person-') "
            "AND criterion IS NULL)"
        ).rows()
        at_desk = [sum(p[key] for p in projects)
                   for key in ("task_number", "total_annotations_number")]  # fmt: skip
        return {"desk": tuple(at_desk), "lake": in_lake}


@pytest.fixture
def loop(label_studio: Service, tmp_path: Path) -> Iterator[Loop]:
    with open_browser() as browser:
        desk = connect_desk(label_studio.url, label_studio.token or "", local=True)
        accounts = [make_account(label_studio, name) for name in ("ada", "bob", "cleo")]
        people = [Annotator(who, sign_in(browser, label_studio, who)) for who in accounts]
        made = Loop(tmp_path, desk, f"Loop {uuid.uuid4().hex[:8]}", tuple(people))
        yield made
        with speak_to(desk) as client:
            for project in made.list_projects().values():
                ask(client, "DELETE", f"/api/projects/{project['id']}")
        for person in people:
            person.sitting.check_calm(desk.url)


def prepare_pairs(loop: Loop) -> Path:
    """Import the pairs and queue what the policy cannot decide: all of them. What the pool calls
    chosen is the worse of every other one. Gives the recipe."""
    rows = [
        dict(zip(("prompt", "chosen", "rejected"),
                 (prompt, *(texts if place % 2 else texts[::-1])), strict=True))
        for place, (prompt, texts) in enumerate(PAIRS.items())
    ]  # fmt: skip
    pool = loop.folder / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    named = {"name": "advice", "licence": "CC0-1.0", "category": "advice"}
    recipe = parse_recipe(
        {
            "name": "loop",
            "prompts": {"imports": [{"path": str(pool), **named}]},
            "label": {"policy": "human_first"},
            "review": {"overlap": 2, "criteria": "rubrics/advice.yaml"},
            "train": None,
        }
    )
    file = write_recipe(loop.folder / "loop.yaml", recipe)
    options = [word for key, value in named.items() for word in (f"--{key}", value)]
    assert loop.assay("import", pool, *options)["kept"] == len(PAIRS)
    loop.assay("dedup", file)
    assert loop.assay("label", file)["queued"] == len(PAIRS)
    return file


def test_people_make_gold_of_what_they_saw(loop: Loop) -> None:
    recipe = prepare_pairs(loop)
    n = len(PAIRS)
    ada, bob, cleo = loop.people

    # out, and out again: nothing twice
    push = ("review", "push", "--project", loop.title)
    first, second = loop.assay(*push), loop.assay(*push)
    assert (first["kept"], second["kept"]) == (n, 0)
    assert loop.count() == {"desk": (n, 0), "lake": (n, 0)}

    ada.judge(loop.list_projects()[""]["id"], {p: t[0] for p, t in PAIRS.items()},
              by_keyboard=False)  # fmt: skip
    bob.judge(loop.list_projects()[""]["id"], SAID, by_keyboard=True)
    assert set(ada.sides.values()) == {"left", "right"}, "each side was the better one somewhere"
    assert {p for p in PAIRS if ada.sides[p] != bob.sides[p]} == {TORN}, "both saw the same sides"

    # back, and back again
    pulled, again = loop.assay("review", "pull"), loop.assay("review", "pull", "--full")
    assert (pulled["rows_in"], pulled["adjudications"]) == (2 * n, 1)
    assert (again["rows_in"], again["new"], again["adjudications"]) == (2 * n, 0, 0)
    assert loop.count() == {"desk": (n, 2 * n), "lake": (n, 2 * n)}
    check_answers(loop)

    # what they said labels nothing yet
    assert "no pair is left to publish" in loop.assay("publish", recipe, fails=True)

    assert (loop.assay(*push)["kept"], loop.assay(*push)["kept"]) == (1, 0)
    third = loop.list_projects()["adjudication"]
    assert third["task_number"] == 1 and "counts for nothing" in third["description"]
    cleo.judge(third["id"], {TORN: SAID[TORN]}, by_keyboard=True)
    settled, again = loop.assay("review", "pull"), loop.assay("review", "pull")
    assert (settled["new"] > 0, again["new"], again["adjudications"]) == (True, 0, 0)
    assert loop.count() == {"desk": (n + 1, 2 * n + 1), "lake": (n + 1, 2 * n + 1)}

    released = loop.assay("review", "release", first["batch"][:8], "--approved-by", "Mira Olsen")
    assert (released["gold"], released["waiting"], released["dropped"]) == (n, 0, {})
    assert released["gates"]["alpha"] == pytest.approx(measure_alpha(loop))
    published = loop.assay("publish", recipe)
    assert published["rows"] == n
    check_version(loop, first["batch"])
    check_export(loop, published)


def check_answers(loop: Loop) -> None:
    """Each judgment is of the text that its person preferred, wherever it stood."""
    names = {name_person(loop.desk.name, who.account.user_id): who for who in loop.people}
    ada, bob, _ = loop.people
    rows = loop.query(
        "SELECT annotator, m.messages[1].content AS prompt, a.content AS said_a, "
        "b.content AS said_b, p_a, criterion, score, detail FROM judgments j "
        "JOIN prompts m USING (prompt_id) JOIN responses a ON a.response_id = j.response_a "
        "JOIN responses b ON b.response_id = j.response_b WHERE starts_with(annotator, 'person-')"
    ).to_dicts()
    main = [row for row in rows if row["criterion"] is None]
    said = {
        (names[row["annotator"]].account.email, row["prompt"]):
        row["said_a"] if row["p_a"] == 1 else row["said_b"]
        for row in main
    }  # fmt: skip
    assert {row["p_a"] for row in main} == {0.0, 1.0}
    assert said == {
        **{(ada.account.email, prompt): texts[0] for prompt, texts in PAIRS.items()},
        **{(bob.account.email, prompt): text for prompt, text in SAID.items()},
    }
    strengths = [json.loads(row["detail"])["strength"] for row in main]
    assert {abs(strength) for strength in strengths} == {1, 2}
    assert [strength > 0 for strength in strengths] == [row["p_a"] == 1 for row in main]
    tools = [(names[row["annotator"]], *json.loads(row["detail"])["tools"]) for row in main]
    assert {(who.account.email, *used) for who, *used in tools if used} == {
        (ada.account.email, "search"), (bob.account.email, "calculator"),
    }  # fmt: skip
    assert len(rows) == len(main) + 2, "each of the two rated one criterion"


def measure_alpha(loop: Loop) -> float:
    """Krippendorff's alpha of two answers a pair, by its definition."""
    rows = loop.query(
        "SELECT list(p_a) AS said FROM judgments JOIN reviews r ON "
        "r.review_id = json_extract_string(detail, '$.review_id') AND r.status = 'answered' "
        "WHERE starts_with(annotator, 'person-') AND criterion IS NULL AND r.role = 'work' "
        "GROUP BY r.pair_id"
    )["said"].to_list()
    values = [value for said in rows for value in said]
    assert len(values) == 2 * len(PAIRS)
    observed = sum(len(set(said)) > 1 for said in rows) / len(rows)
    a, n = values.count(1.0), len(values)
    return 1 - observed / (2 * a * (n - a) / (n * (n - 1)))


def check_version(loop: Loop, batch: str) -> None:
    rows = loop.query(
        "SELECT m.messages[1].content AS prompt, c.content AS chosen, r.content AS rejected, "
        "v.* FROM version_pairs v JOIN prompts m USING (prompt_id) "
        "JOIN responses c ON c.response_id = chosen_id "
        "JOIN responses r ON r.response_id = rejected_id WHERE name = 'loop'"
    ).to_dicts()
    assert {row["prompt"]: row["chosen"] for row in rows} == SAID
    assert all({row["chosen"], row["rejected"]} == set(PAIRS[row["prompt"]]) for row in rows)
    assert {(r["tier"], r["decided_by"], *r["annotators"]) for r in rows} == {
        ("gold", "human", f"people:{batch}")
    }
    by = loop.query(
        "SELECT json_extract_string(detail, '$.by') AS by, count(*) AS n FROM judgments "
        f"WHERE annotator = 'people:{batch}' GROUP BY ALL"
    )
    assert dict(by.iter_rows()) == {"work": len(PAIRS) - 1, "adjudication": 1}
    approved = loop.query("SELECT DISTINCT approved_by, agreement FROM releases").rows()
    assert approved == [("Mira Olsen", 1.0)]


def check_export(loop: Loop, published: dict[str, Any]) -> None:
    import datasets

    version = f"{published['name']}@{published['version']}"
    exported = loop.assay("export", version, "--to", loop.folder / "data")
    parts = datasets.load_from_disk(exported["export"])
    rows = [row for part in parts.values() for row in part]
    assert {
        row["prompt"][0]["content"]: (row["chosen"][0]["content"], row["tier"]) for row in rows
    } == {prompt: (text, "gold") for prompt, text in SAID.items()}
    assert len(rows) == len(PAIRS)
