"""The shipped recipe of the gold loop on a real pool, with real judges and what real people said.

The pool is PandaLM's: each pair comes with the label of one of its recorded judges, the other one
speaks as a voice, and the three people who judged every pair are the annotators at a real Label
Studio, who say there what the file says that they said. The recipe's judge is the embedded model
behind a real vLLM.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.desk.client import Desk, connect_desk
from engines.chat import Endpoint
from engines.services import Service
from pipelines.label.loop.progress import find_iterations, name_loop
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import open_lake
from pipelines.lake.teaching import on_train
from pipelines.recipes import find_recipe
from pipelines.steps import open_work
from schemas.ids import make_seed
from schemas.recipe import Recipe, parse_recipe
from tests.annotators.desk.browser import Account, make_account
from tests.conftest import run_assay, run_here, write_recipe
from tests.pipelines.label.people.test_pandalm_replay import (
    PEOPLE,
    answer_all,
    gather,
    list_shown,
    read_pool,
)

pytestmark = [
    pytest.mark.realdata, pytest.mark.slow, pytest.mark.soak,
    pytest.mark.xdist_group("label_studio"), pytest.mark.timeout(7200),
]  # fmt: skip

VERDICTS = {"1": "A", "2": "B", "0": "tie"}
CAME, VOICE = "gpt35", "pandalm7b"  # of the file's judges: who gave the labels, and who speaks, too
TITLE = "Synpref"
PAIRS = 400
NEIGHBOURS = 2  # a judge on a CPU takes a second a verdict
MINUTES = 120.0
SAID = 20.0  # seconds that an answer takes, as `answer_all` has it

Row = dict[str, Any]


@dataclass(frozen=True)
class Loop:
    """The recipe over the pool, its lake and desk, and the file's rows by pair."""

    folder: Path
    recipe: Recipe
    desk: Desk
    accounts: dict[str, Account]
    rows: dict[str, Row]

    def assay(self, *arguments: str | Path, fails: bool = False) -> Any:
        """What a command prints, as a program reads it; what it says where it should fail."""
        run = run_assay if arguments[0] == "run" else run_here
        options = {"timeout": 3600} if run is run_assay else {}
        done = run(*arguments, "--lake", self.folder / "lake", "--json", **options)
        assert done.returncode == int(fails), f"{arguments}: {done.stderr}"
        return done.stderr if fails else json.loads(done.stdout)

    def run(self, *, fails: bool = False) -> Any:
        return self.assay("run", self.file, "--out", self.folder / "out", fails=fails)

    @property
    def file(self) -> Path:
        return self.folder / "synpref.yaml"

    def query(self, sql: str) -> pl.DataFrame:
        with open_lake(str(self.folder / "lake"), create=False) as lake:
            return lake.query(sql)

    def ask_people(self) -> int:
        """Send what waits, have all three say what they said, and release it: how much it was."""
        pushed = self.assay("review", "push", "--project", TITLE)
        if pushed["batch"] is None:
            return 0
        with open_lake(str(self.folder / "lake"), create=False) as lake:
            reviews = find_reviews(lake, "status = 'pushed'")
        pair_of = dict(reviews.select("review_id", "pair_id").iter_rows())
        (project,) = reviews["project_id"].unique()
        tasks = [
            (task, self.rows[pair_of[task["data"]["review_id"]]])
            for task in list_shown(self.desk, project)
            if task["data"]["review_id"] in pair_of
        ]
        assert len(tasks) == pushed["kept"] == len(reviews)
        answer_all(self.desk, self.accounts, tasks)
        pulled = self.assay("review", "pull")
        assert pulled["new"] == len(PEOPLE) * len(tasks)
        released = self.assay("review", "release", pushed["batch"], "--approved-by", "Mira Olsen")
        assert released["gold"] == len(tasks) and released["waiting"] == 0
        return len(tasks)


def write_pandalm(file: Path, rows: dict[str, Row]) -> Path:
    """The rows as recorded opinions: what the two judges of the file say, and nothing of people."""
    lines = []
    for row in rows.values():
        asked = row["instruction"]
        common = {
            "prompt": f"{asked}\n\n{row['input']}" if row["input"].strip() else asked,
            "response_a": row["response1"],
            "response_b": row["response2"],
        }
        for judge, kind in ((CAME, "import"), (VOICE, "llm")):
            said = str(row[f"judge_{judge}"])
            lines.append({**common, "annotator": judge, "kind": kind, "raw": said,
                          "verdict": VERDICTS.get(said)})  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def make_synpref(pool: Path, **changes: Any) -> Recipe:
    """The shipped recipe over that pool, with people, and without the model that is trained on what
    each run publishes."""
    content = find_recipe("synpref")[0].model_dump(mode="json", exclude_unset=True)
    source = {"path": str(pool), "name": "pandalm", "layout": "judgments", "licence": "Apache-2.0"}
    changed = {
        "prompts": {"imports": [source]},
        "loop": {**content["loop"], "neighbours": NEIGHBOURS, "minutes": MINUTES},
        "review": {"overlap": len(PEOPLE)},
        "train": None,
    }
    return parse_recipe({**content, **changed, **changes})


def open_loop(folder: Path, realdata: Path, service: Service, pairs: int, **changes: Any) -> Loop:
    """`pairs` of the file's, drawn by hash."""
    alike = gather(read_pool(realdata / "pandalm_999x3.jsonl.gz"))
    drawn = sorted(alike, key=lambda key: make_seed("synpref", key))[:pairs]
    rows = {key: alike[key][0] for key in drawn}
    recipe = make_synpref(write_pandalm(folder / "pandalm.jsonl", rows), **changes)
    desk = connect_desk(service.url, service.token or "", local=True)
    accounts = {who: make_account(service, who) for who in PEOPLE}
    write_recipe(folder / "synpref.yaml", recipe)
    return Loop(folder, recipe, desk, accounts, rows)


def follow(loop: Loop) -> Any:
    """Run, ask people what it asks, and run again, until nothing waits for anybody: what the last
    run said."""
    told = loop.run(fails=True)
    assert "drawn at random wait for people" in told and "No call was made" in told
    assert loop.query("SELECT count(*) AS n FROM answers")["n"].item() == 0
    outputs = None
    while loop.ask_people():
        outputs = loop.run()
        for stage in outputs["stages"]:
            gone = sum(stage["dropped"].values()) + sum(stage["quarantined"].values())
            assert stage["rows_in"] == stage["kept"] + gone, stage
    assert outputs is not None
    return outputs


def check_iterations(loop: Loop) -> list[Row]:
    """Every row adds up, from what the lake has of its pairs."""
    with open_work(str(loop.folder / "lake"), loop.recipe, loop.folder) as work:
        view = work.look()
        judges = {judge.annotator for judge in view.judges}
        pairs = view.evidence.pairs
        rows = find_iterations(work.lake, name_loop(loop.recipe))
    train = set(pairs.filter(on_train())["pair_id"])
    drawn = loop.query("SELECT DISTINCT pair_id FROM reviews WHERE reason = 'first_gold'")
    gold = train & set(drawn["pair_id"])
    exam = set(loop.query("SELECT pair_id FROM releases")["pair_id"]) - train
    taken: set[str] = set()
    assert [row["number"] for row in rows] == [*range(len(rows))]
    assert rows[0]["kind"] == "gold" and rows[-1]["kind"] == "rejudging"
    assert len(exam) > 10
    for row in rows:
        chosen, asked = set(row["pair_ids"]), set(row["asked"])
        assert row["status"] == "done" and not chosen & taken
        assert chosen or row["kind"] == "rejudging"  # of what no judge has spoken on, maybe nothing
        assert row["candidates"] == len(train - gold - taken)
        assert row["silver"] == len((taken | chosen) - gold)
        if row["kind"] == "gold":
            assert chosen == gold and asked == set(drawn["pair_id"])
        elif row["kind"] == "retrieval":
            assert chosen <= train - gold and asked and asked <= train - gold
        taken |= chosen
        gold |= asked & train
        assert row["gold"] == len(gold)
        assert row["verdicts"] == 2 * len(judges) * len(chosen)
        cost = min(row["tokens_in"], row["tokens_out"], row["seconds"])
        assert cost > 0 if chosen else cost == 0
        assert row["minutes"] == pytest.approx(len(asked) * len(PEOPLE) * SAID / 60)
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    check_examples(loop, exam)
    return rows


def check_examples(loop: Loop, exam: set[str]) -> None:
    """Gold was shown to judges, and none of it was of the exam."""
    shown = loop.query(
        "SELECT DISTINCT unnest(json_extract_string(detail, '$.examples[*]')) AS pair_id "
        "FROM judgments WHERE kind = 'llm' AND detail IS NOT NULL"
    )["pair_id"].to_list()
    guided = any(judge.examples for judge in loop.recipe.judges)
    assert bool(shown) == guided and not exam & set(shown)


def check_version(loop: Loop, outputs: Any) -> None:
    """What people said is what they are labelled by, and the export holds all of it."""
    import datasets

    rows = loop.query(
        "SELECT pair_id, tier, c.content AS chosen FROM version_pairs v "
        "JOIN responses c ON c.response_id = chosen_id "
        f"WHERE v.name = 'synpref' AND v.version = {outputs['version'].partition('@')[2]}"
    ).to_dicts()
    parts = datasets.load_from_disk(outputs["export"])
    assert len(rows) == outputs["rows"] == sum(map(len, parts.values()))
    assert Counter(row["tier"] for row in rows)["silver"] > 0
    for row in rows:
        if row["tier"] == "gold":
            assert row["chosen"] == find_better(loop.rows[row["pair_id"]])


def find_better(row: Row) -> str | None:
    """The response that most of the three people prefer; None where that is a tie."""
    (said, _), *_ = Counter(int(row[who]) for who in PEOPLE).most_common(1)
    return row[f"response{said}"] if said else None


def check_report(outputs: Any, rows: list[Row]) -> None:
    """The report's table has a row for each iteration, with its figures."""
    page = Path(outputs["report"]).read_text()
    table = re.search(r"<table(?:(?!</table>).)*The iterations\..*?</table>", page, re.S)
    assert table is not None
    shown = re.findall(r'<tr><th scope="row">(\d+) (\w+)(.*?)</tr>', table[0], re.S)
    assert [(int(number), kind) for number, kind, _ in shown] == [
        (row["number"], row["kind"]) for row in rows
    ]
    for row, (_, _, cells) in zip(rows, shown, strict=True):
        assert f"{row['verdicts']:,}" in cells and f"{row['minutes']:,.1f}" in cells


def test_synpref_with_the_people_of_pandalm(
    tmp_path: Path, realdata: Path, label_studio: Service, endpoint: Endpoint
) -> None:
    loop = open_loop(tmp_path, realdata, label_studio, PAIRS)
    outputs = follow(loop)
    rows = check_iterations(loop)
    assert sum(row["minutes"] for row in rows) > 0
    check_version(loop, outputs)
    check_report(outputs, rows)
    again = loop.run()
    assert (again["model_calls"], again["fingerprint"]) == (0, outputs["fingerprint"])
