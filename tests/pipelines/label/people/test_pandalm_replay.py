"""PandaLM's three people, replayed through a real Label Studio as three accounts.

What they said of each pair goes in by the API of each, as an answer about the sides as the task
shows them; what Assay then measures from the lake must be what the file gives, whose figures are
worked out here by hand.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.consensus import fit_consensus
from annotators.desk.answers import write_answer
from annotators.desk.client import Desk, ask, connect_desk, list_tasks, name_person, speak_to
from annotators.people.agreement import compare_people, measure_alpha
from annotators.people.annotations import take_labels
from engines.services import Service
from pipelines.label.people.assessing import find_batched, judge_items, list_annotations
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from pipelines.steps import open_work, run_step
from schemas.ids import make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import ReviewSpec
from tests.annotators.desk.browser import Account, make_account
from tests.conftest import ROOT, make_recipe

pytestmark = [
    pytest.mark.realdata, pytest.mark.slow, pytest.mark.xdist_group("label_studio"),
]  # fmt: skip

PEOPLE = ("annotator1", "annotator2", "annotator3")
VERDICTS = {1: 1.0, 2: 0.0, 0: 0.5}  # of the first response
LABELS = {1.0: "a", 0.0: "b", 0.5: "tie"}
SPEC = ReviewSpec(overlap=3)
EXACT = 1e-12
PULL = textwrap.dedent("""
    import os, sys
    from annotators.desk.client import Desk
    from pipelines.label.people.pulling import pull_reviews
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run

    desk = Desk(sys.argv[2], os.environ["DESK_TOKEN"])
    print("ready", flush=True)
    with open_lake(sys.argv[1], create=False) as lake:
        pull_reviews(lake, new_run(), desk)
""")

Row = dict[str, Any]
Said = dict[str, dict[str, str]]  # item -> person -> label


def read_pool(file: Path) -> list[Row]:
    """The rows, with the responses that their JSON holds as booleans mended to texts."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [{**row, **{f"response{n}": str(row[f"response{n}"]) for n in (1, 2)}} for row in rows]


def find_key(row: Row) -> tuple[str, bool]:
    """The id of a row's pair, and whether its first response is `a`."""
    asked = (
        f"{row['instruction']}\n\n{row['input']}" if row["input"].strip() else row["instruction"]
    )
    prompt_id = make_prompt_id([{"role": "user", "content": asked}])
    first, second = (make_response_id(prompt_id, row[f"response{n}"]) for n in (1, 2))
    return make_pair_id(prompt_id, *sorted((first, second))), first < second


def gather(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by pair: of some pairs the file says several things."""
    by_pair: dict[str, list[Row]] = {}
    for row in rows:
        by_pair.setdefault(find_key(row)[0], []).append(row)
    return by_pair


def split_waves(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows in as few parts as there can be with no pair twice, all of about one size."""
    by_pair = gather(rows)
    waves: list[list[Row]] = [[] for _ in range(max(map(len, by_pair.values())))]
    for place, alike in enumerate(by_pair.values()):
        for step, row in enumerate(alike):
            waves[(place + step) % len(waves)].append(row)
    return waves


def read_said(rows: dict[str, Row]) -> Said:
    """What the file says that each person said of each pair."""
    said: Said = {}
    for key, row in rows.items():
        p_first = {person: VERDICTS[int(row[person])] for person in PEOPLE}
        is_a = find_key(row)[1]
        said[key] = {who: LABELS[p if is_a else 1 - p] for who, p in p_first.items()}
    return said


def compute_alpha(said: Said) -> float:
    """Krippendorff's nominal alpha of items that all have as many labels, from its definition."""
    labels = [list(item.values()) for item in said.values()]
    total = Counter(label for item in labels for label in item)
    n = total.total()
    apart = sum(one != other for item in labels for one, other in combinations(item, 2))
    observed = 2 * apart / (len(PEOPLE) - 1) / n
    return 1 - observed / (1 - sum(c * (c - 1) for c in total.values()) / (n * (n - 1)))


def compute_kappa(said: Said, one: str, other: str) -> float:
    """Cohen's kappa, from its definition."""
    n = len(said)
    agreed = sum(item[one] == item[other] for item in said.values()) / n
    shares = [Counter(item[who] for item in said.values()) for who in (one, other)]
    chance = sum(shares[0][label] * shares[1][label] for label in LABELS.values()) / n**2
    return (agreed - chance) / (1 - chance)


def to_votes(said: Said) -> pl.DataFrame:
    rows = [(key, who, label) for key, item in said.items() for who, label in item.items()]
    return pl.DataFrame(rows, schema=["item", "annotator", "label"], orient="row")


def queue(lake_url: str, pool: Path, rows: Iterable[Row], limit: int) -> None:
    """Import the rows as a pool and queue what no policy can decide, at most `limit`."""
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(
        models={},
        rollouts=[],
        judges=[],
        prompts={"imports": [{"path": str(pool), "name": "pandalm"}]},
        clean={"near_duplicate_similarity": 1.0},
        review={"limit": limit, "overlap": 3},
    )
    with open_work(lake_url, recipe, None) as work:
        for step in ("import", "dedup", "split", "label", "review_queue"):
            run_step(work, step)


def list_shown(desk: Desk, project: int) -> list[Row]:
    with speak_to(desk) as client:
        return list(list_tasks(client, project, "id,data"))


def answer(desk: Desk, account: Account, who: str, tasks: Sequence[tuple[Row, Row]]) -> None:
    """Submit, as that account, what a person of the file said of each task: of the side on which
    the task shows the response that was meant."""
    with speak_to(Desk(desk.url, account.token)) as client:
        for task, row in tasks:
            sides = [task["data"]["left"], task["data"]["right"]]
            texts = [row["response1"], row["response2"]]
            assert sides in (texts, texts[::-1])
            meant = texts[int(row[who]) - 1] if row[who] else None
            choice = "tie" if meant is None else "left" if sides[0] == meant else "right"
            said = {"choice": choice, "strength": 0 if meant is None else 1}
            result = write_answer("preference", task["data"], said)
            body = {"result": result, "lead_time": 20.0}
            ask(client, "POST", f"/api/tasks/{task['id']}/annotations/", json=body)


def answer_all(desk: Desk, accounts: dict[str, Account], tasks: Sequence[tuple[Row, Row]]) -> None:
    """All three at once, each in an order of their own."""
    with ThreadPoolExecutor(len(accounts)) as threads:
        sittings = [
            threads.submit(answer, desk, account, who, random.Random(who).sample(tasks, len(tasks)))
            for who, account in accounts.items()
        ]
        for sitting in sittings:
            sitting.result()


def pull_killed(desk: Desk, lake_url: str, after: float) -> None:
    """A pull in a process that is killed so many seconds in, if it has not ended by then."""
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, lake_url, desk.url], cwd=ROOT, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DESK_TOKEN": desk.token},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) in (0, -signal.SIGKILL)


def check_counts(
    lake: Lake, desk: Desk, accounts: dict[str, Account], project: int, n: int
) -> None:
    """Each of `n` tasks has one annotation of each account, at the desk and in the lake."""
    with speak_to(desk) as client:
        held = ask(client, "GET", f"/api/projects/{project}")
        exported = ask(
            client, "GET", f"/api/projects/{project}/export", params={"exportType": "JSON"}
        )
    made = Counter(a["completed_by"] for task in exported for a in task["annotations"])
    assert (held["task_number"], held["total_annotations_number"]) == (n, 3 * n)
    assert made == {account.user_id: n for account in accounts.values()}
    assert lake.query("SELECT status, overlap, count(*) FROM reviews GROUP BY ALL").sort(
        "status"
    ).rows() == [("answered", 3, n), ("planned", 3, n), ("pushed", 3, n), ("queued", None, n)]
    stored = lake.query(
        "SELECT annotator, count(*), count(DISTINCT detail->>'annotation'), bool_and(valid) "
        "FROM judgments WHERE starts_with(annotator, 'person-') GROUP BY ALL"
    )
    people = {name_person(desk.name, account.user_id) for account in accounts.values()}
    assert sorted(stored.rows()) == [(person, n, n, True) for person in sorted(people)]


def replay(
    folder: Path, service: Service, title: str, rows: Sequence[Row], limit: int, kills: int = 0
) -> tuple[Said, pl.DataFrame]:
    """Replay what the file says of at most `limit` pairs, and check all that is measured of them.

    Args:
        rows: of the pool; of a pair that is there several times the first counts.
        kills: pulls that are killed on the way.

    Returns:
        What the file says of those pairs, and the votes that the lake has of them.
    """
    folder.mkdir()
    lake_url = str(folder / "lake")
    desk = connect_desk(service.url, service.token or "")
    accounts = {who: make_account(service, who) for who in PEOPLE}
    first = {key: alike[0] for key, alike in gather(rows).items()}
    n = min(limit, len(first))
    queue(lake_url, folder / "pool.jsonl", rows, limit)
    with open_lake(lake_url) as lake:
        pushed = push_reviews(lake, new_run(), desk, SPEC, title=title)
        assert (pushed.to_review, pushed.extra["batch"] is not None) == (n, True)
        reviews = find_reviews(lake, "status = 'pushed'")
        (project,) = reviews["project_id"].unique()
        pair_of = dict(reviews.select("review_id", "pair_id").iter_rows())
        shown = [(task, first[pair_of[task["data"]["review_id"]]])
                 for task in list_shown(desk, project)]  # fmt: skip
        assert len(shown) == n
        answer_all(desk, accounts, shown[: n // 2])
        started = time.monotonic()
        pulled = pull_reviews(lake, new_run(), desk)
        longest = time.monotonic() - started
        assert (pulled.rows_in, pulled.extra["new"]) == (n // 2 * 3, n // 2 * 3)
    answer_all(desk, accounts, shown[n // 2 :])
    for _ in range(kills):
        pull_killed(desk, lake_url, random.uniform(0, longest))
    with open_lake(lake_url) as lake:
        pull_reviews(lake, new_run(), desk)
        assert pull_reviews(lake, new_run(), desk).extra["new"] == 0
        check_counts(lake, desk, accounts, project, n)
        said = {key: item for key, item in read_said(first).items() if key in pair_of.values()}
        names = {name_person(desk.name, a.user_id): who for who, a in accounts.items()}
        return said, check_measures(lake, said, names, pushed.extra["batch"])


def check_measures(lake: Lake, said: Said, names: dict[str, str], batch: str) -> pl.DataFrame:
    """Alpha, kappas and both kinds of consensus from the lake are those of the file."""
    answers = find_batched(lake, [batch])
    rows = list_annotations(answers).with_columns(pl.col("annotator").replace_strict(names))
    check_agreement(rows, said)
    votes = take_labels(rows)
    expected = to_votes(said)
    assert votes.select(expected.columns).equals(expected.sort("item", "annotator"))
    ours, theirs = fit_consensus(votes), fit_consensus(expected)
    assert ours.items.equals(theirs.items)
    assert ours.annotators.equals(theirs.annotators)

    majority = {key: Counter(item.values()).most_common(1)[0] for key, item in said.items()}
    together = {
        key: (LABELS[value], votes)
        for key, value, votes in judge_items(answers)
        .select("pair_id", "value", "votes")
        .iter_rows()
    }
    assert together == majority  # no three people of the file say three things
    released = release_batch(lake, new_run(), batch, "Mira Olsen", SPEC)
    assert (released.kept, released.extra["waiting"]) == (len(said), 0)
    assert released.extra["gates"]["alpha"] == pytest.approx(compute_alpha(said), abs=EXACT)
    gold = lake.query("SELECT pair_id, p_a, agreement FROM releases").rows()
    p_of = {label: p for p, label in LABELS.items()}
    assert len(gold) == len(said)
    for key, p_a, agreement in gold:
        label, count = majority[key]
        mean = sum(p_of[one] for one in said[key].values()) / 3
        assert p_a == pytest.approx(0.5 if label == "tie" else mean, abs=EXACT)
        assert agreement == pytest.approx(count / 3, abs=EXACT)
    return votes


def check_agreement(rows: pl.DataFrame, said: Said) -> None:
    alpha = measure_alpha(take_labels(rows))
    assert (alpha.items, alpha.annotators, alpha.n) == (len(said), 3, 3 * len(said))
    assert alpha.value == pytest.approx(compute_alpha(said), abs=EXACT)
    kappas = compare_people(rows).select("annotator_1", "annotator_2", "n", "kappa").rows()
    assert [row[:3] for row in kappas] == [(*two, len(said)) for two in combinations(PEOPLE, 2)]
    for one, other, _, kappa in kappas:
        assert kappa == pytest.approx(compute_kappa(said, one, other), abs=EXACT)


@pytest.mark.timeout(1200)
def test_what_three_people_said_of_sixty_pairs_is_what_is_measured(
    tmp_path: Path, realdata: Path, label_studio: Service
) -> None:
    rows = read_pool(realdata / "pandalm_999x3.jsonl.gz")
    said, votes = replay(tmp_path / "wave", label_studio, "PandaLM 60", rows, 60, kills=2)
    assert len(said) == 60
    apart = [item for item in said.values() if len(set(item.values())) > 1]
    assert len(apart) >= 3 and set(votes["label"]) == set(LABELS.values())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_three_people_said_of_all_of_pandalm_is_what_is_measured(
    tmp_path: Path, realdata: Path, label_studio: Service
) -> None:
    """A pair that the file has several times is asked about as often, in a lake of its own each."""
    rows = read_pool(realdata / "pandalm_999x3.jsonl.gz")
    everything: Said = {}
    votes = []
    for number, wave in enumerate(split_waves(rows)):
        title = f"PandaLM wave {number}"
        said, seen = replay(tmp_path / f"{number}", label_studio, title, wave, len(wave))
        assert len(said) == len(wave)
        everything |= {f"{number}:{key}": item for key, item in said.items()}
        votes.append(seen.with_columns(item=pl.format("{}:{}", pl.lit(number), "item")))
    assert len(everything) == 999
    assert Counter(len(set(item.values())) for item in everything.values()) == {1: 879, 2: 120}
    check_agreement(pl.concat(votes).drop("batch"), everything)
    kappas = compare_people(pl.concat(votes))["kappa"].to_list()
    assert kappas == pytest.approx([0.85, 0.88, 0.86], abs=5e-3)  # as they are published
