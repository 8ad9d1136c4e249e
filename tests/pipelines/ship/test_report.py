"""The report of a version, rendered from a small lake made by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import StageSummary, new_run
from pipelines.ship import figures
from pipelines.ship.publish import VersionMissing
from pipelines.ship.report import ReportFailed, build_report, gather_facts
from schemas.ids import make_id, make_judgment_id, make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import parse_recipe

SECTIONS = (
    "flow", "labels", "judges", "reliability", "composition", "lengths", "training", "exam",
    "examples", "reproduce",
)  # fmt: skip
HOSTILE = "<script>alert('x')</script> <img src=http://evil.example/a.png>"
JUDGE = "pairwise@SmolLM2-135M-Instruct"
PAIRS = 24
RECIPE = parse_recipe(
    {
        "name": "small",
        "prompts": {"arithmetic": {"count": 12}, "open": {"count": 12}},
        "rollouts": [{"n": 2}],
        "judges": [{"name": "pairwise"}],
    }
).model_dump(mode="json")


def make_rows() -> dict[str, list[dict[str, Any]]]:
    """Pairs 0, 2, 4... are open and judged; the odd ones arithmetic, with reference answers."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("prompts", "responses", "rollouts", "judgments", "version_pairs")
    }
    for number in range(PAIRS):
        judged = number % 2 == 0
        source, category = ("open", "advice") if judged else ("arithmetic", "arithmetic")
        messages = [{"role": "user", "content": f"Question {number} <b>& more</b>?"}]
        prompt_id = make_prompt_id(messages)
        texts = [f"{HOSTILE} Good answer {number}. " + "word " * number, f"Poor answer {number}."]
        chosen, rejected = (make_response_id(prompt_id, text) for text in texts)
        pair = {"prompt_id": prompt_id, "category": category, "source": source}
        tables["prompts"].append({**pair, "messages": messages, "licence": "CC0-1.0"})
        for response_id, text, policy in zip(
            (chosen, rejected),
            texts,
            ("small@1" if judged else "reference", "small@1"),
            strict=True,
        ):
            row = {"response_id": response_id, "prompt_id": prompt_id}
            tables["responses"].append({**row, "content": text})
            ids = {"rollout_id": make_id("rollout", response_id), "request_id": "r"}
            tables["rollouts"].append({**row, **ids, "policy": policy, "sample_index": 0})
        if judged:
            tables["judgments"] += make_judgments(number, prompt_id, chosen, rejected)
        tables["version_pairs"].append(
            {
                **pair,
                "name": "small",
                "version": 1,
                "pair_id": make_pair_id(prompt_id, chosen, rejected),
                "chosen_id": chosen,
                "rejected_id": rejected,
                "probability": 0.5 + number / 50,
                "margin": number / 25,
                "weight": 1.0,
                "tier": "silver",
                "decided_by": "llm" if judged else "verifier",
                "annotators": [JUDGE if judged else "verifier:math"],
                "licence": "CC0-1.0",
                "split": "test" if number >= 20 else "train",
            }
        )
    return tables


def make_judgments(number: int, prompt_id: str, chosen: str, rejected: str) -> list[dict[str, Any]]:
    """The judge takes the first response on pairs 0, 8 and 16 whatever it is, and the chosen one
    elsewhere; its `ba` opinion of pair 4 cannot be read."""
    first, second = sorted((chosen, rejected))
    rows = []
    for order in ("ab", "ba"):
        valid = not (number == 4 and order == "ba")
        takes_a = order == "ab" if number % 8 == 0 else first == chosen
        rows.append(
            {
                "judgment_id": make_judgment_id(
                    JUDGE, prompt_id, criterion=None, order=order, sample_index=0, origin=order
                ),
                "annotator": JUDGE,
                "kind": "llm",
                "prompt_id": prompt_id,
                "response_a": first,
                "response_b": second,
                "p_a": (0.75 if takes_a else 0.25) if valid else None,
                "tie": False,
                "valid": valid,
                "reason": None if valid else "no verdict",
                "order": order,
                "sample_index": 0,
            }
        )
    return rows


def make_version(snapshot: int, **changes: Any) -> dict[str, Any]:
    stages = [
        StageSummary("synthesis", 30, 28, dropped={"duplicate": 2}, seconds=3.25),
        StageSummary("clean", 28, 24, dropped={"near_duplicate": 3}, quarantined={"bad row": 1}),
    ]
    metrics = {
        "stages": [stage.to_json() for stage in stages],
        "quota": {"advice": {"wanted": 15, "got": 12}, "safety": {"wanted": 3, "got": 0}},
        "quota_source": {"open": {"wanted": 15, "got": 12}},
        "reference_share": 0.5,
    }
    return {
        "name": "small",
        "version": 1,
        "snapshot": snapshot,
        "fingerprint": "f" * 32,
        "rows": PAIRS,
        "recipe_hash": "c" * 32,
        "recipe": json.dumps(RECIPE),
        "policy": "verifier_first",
        "scopes": [],
        "licences": ["CC0-1.0"],
        "metrics": json.dumps(metrics),
        "cost": json.dumps({"tokens_in": 4000, "tokens_out": 800, "seconds": 96, "calls": 71}),
        **changes,
    }


MODEL = {
    "model_id": "m1",
    "name": "small",
    "version": 1,
    "fingerprint": "f" * 32,
    "base": "minilm",
    "config": "{}",
    "path": "models/m1",
    "metrics": json.dumps(
        {
            "curve": [{"step": s, "loss": 0.7 - s / 50, "accuracy": 0.5 + s / 40} for s in range(9)]
            + [{"step": 9, "loss": 0.5}],
            "train_pairs": 20,
            "dropped_too_long": 1,
            "seconds": 92.0,
        }
    ),
}
EXAM = {
    "exam_id": "e1",
    "model_id": "m1",
    "name": "small",
    "version": 1,
    "heading": "Held-out pairs, labels of the verifier",
    "label_source": "verifier",
    "n": 40,
    "score": 0.7,
    "ci_low": 0.55,
    "ci_high": 0.82,
    "by_category": json.dumps({"arithmetic": {"n": 30, "score": 0.8}, "advice": {"n": 10}}),
    "baselines": json.dumps(
        {
            "longest answer": {"score": 0.62, "ci_low": 0.47, "ci_high": 0.76},
            "coin": {"score": 0.5, "ci_low": 0.35, "ci_high": 0.65},
        }
    ),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake with `small@1` (labelled, trained, examined), `twin@1` (another name for the same
    content) and `bare@3` (nothing recorded)."""
    with open_lake(tmp_path_factory.mktemp("lake")) as lake:
        rows = make_rows()
        pairs = rows.pop("version_pairs")
        append(lake, rows)
        snapshot = lake.snapshot()
        nothing = {"rows": 0, "recipe": "{}", "metrics": "{}", "cost": "{}", "licences": []}
        bare = make_version(snapshot, name="bare", version=3, fingerprint="b" * 32, **nothing)
        twin = make_version(snapshot, name="twin")
        append(lake, {"version_pairs": pairs, "versions": [make_version(snapshot), twin, bare]})
        append(lake, {"models": [MODEL], "exams": [EXAM]})
        late = {"valid": False, "p_a": None, "judgment_id": "late"}
        append(lake, {"judgments": [rows["judgments"][0] | late]})
        late = {"rollout_id": "late", "policy": "late@1"}
        append(lake, {"rollouts": [rows["rollouts"][0] | late]})
        yield lake


def append(lake: Lake, rows: dict[str, list[dict[str, Any]]]) -> None:
    outcome = lake.append(rows, run=new_run(), stage="test")
    assert not outcome.quarantined


@pytest.fixture(scope="module")
def page(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report(lake, "small", out=tmp_path_factory.mktemp("out")).read_text("utf-8")


class Page(HTMLParser):
    """The tags of a page with their attributes; fails where one is closed out of turn."""

    VOID = ("meta", "br", "wbr", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_itself(page: str) -> None:
    parsed = Page(page)
    assert not parsed.open, "every element is closed"
    assert {tag for tag, _ in parsed.tags} & {"script", "link", "img", "iframe", "object"} == set()
    links = [a[key] for _, a in parsed.tags for key in ("href", "src", "xlink:href") if key in a]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {link[1:] for link in links if link} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets <= set(ids)


def test_every_section_stands_with_its_table_and_figure(page: str) -> None:
    parsed = Page(page)
    sections = [a.get("id") for tag, a in parsed.tags if tag == "section"]
    assert sections == [SECTIONS[0], "filters", *SECTIONS[1:]]
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 7
    assert "No data" not in page
    assert "<title>small@1: report</title>" in page
    assert ("html", {"lang": "en"}) in parsed.tags
    tables = sum(tag == "table" for tag, _ in parsed.tags)
    assert tables == sum(tag == "caption" for tag, _ in parsed.tags) >= 9


def test_texts_are_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "<script" not in page
    assert page.count("<details>") == 8 + 2, "eight examples, what was quarantined, the recipe"
    asked = {int(n) for n in re.findall(r"Question (\d+) &lt;b&gt;&amp; more&lt;/b&gt;\?", page)}
    assert len(asked) == 8
    assert max(asked) < 20, "examples come from the training splits"


def test_the_numbers_are_those_of_the_lake(lake: Lake, page: str) -> None:
    facts = gather_facts(lake, "small", 1)
    judge = {"annotator": JUDGE, "judgments": 24, "invalid": 1, "both_orders": 11, "agree": 8}
    assert facts["judges"][0].items() >= judge.items(), "the late opinion is not counted"
    assert facts["judges"][0]["decided"] == 23
    pair_4 = [row for row in make_rows()["judgments"] if row["p_a"]][4]
    once = 8 + (pair_4["p_a"] > 0.5)  # a pair with one verdict shows its winner first once
    assert facts["judges"][0]["took_first"] == 3 * 2 + once
    assert facts["embedded_labels"] == 12
    assert facts["reference_share"] == 0.5
    assert facts["cost"]["tokens_per_pair"] == 200
    assert facts["compositions"]["category"] == [
        {"key": "advice", "pairs": 12, "wanted": 15, "short": 3},
        {"key": "arithmetic", "pairs": 12, "wanted": None, "short": None},
        {"key": "safety", "pairs": 0, "wanted": 3, "short": 3},
    ]
    assert facts["compositions"]["source"][1] == {
        "key": "open", "pairs": 12, "wanted": 15, "short": 3
    }  # fmt: skip
    assert facts["deciders"] == [
        {"decided_by": "llm", "by_tier": {"silver": 12}},
        {"decided_by": "verifier", "by_tier": {"silver": 12}},
    ]
    assert facts["writers"] == [  # the late rollout is not counted
        {"policy": "reference", "chosen": 12, "rejected": 0},
        {"policy": "small@1", "chosen": 12, "rejected": 24},
    ]
    assert "its labels are not meaningful preferences" in page
    assert "50.0 % of the chosen responses are reference answers" in page
    assert "0.550 – 0.820" in page
    assert "longest answer" in page
    assert "nearly the same as another <b>3</b>" in page


def test_the_same_lake_gives_the_same_bytes(lake: Lake, page: str, tmp_path: Path) -> None:
    path = build_report(lake, "small", 1, out=tmp_path / "deep" / "page.html")
    assert path == tmp_path / "deep" / "page.html"
    assert path.read_text("utf-8") == page
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_a_version_of_which_nothing_is_recorded_still_renders(lake: Lake, tmp_path: Path) -> None:
    page = build_report(lake, "bare", out=tmp_path).read_text("utf-8")
    assert [a.get("id") for tag, a in Page(page).tags if tag == "section"] == list(SECTIONS)
    assert "bare@3" in page
    assert "No reward model has been trained" in page
    assert "<svg" not in page
    assert 'class="note"' not in page


def test_an_unknown_version_names_the_known_ones(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(VersionMissing, match=r"small@7: .*published: bare@3, small@1, twin@1"):
        build_report(lake, "small", 7, out=tmp_path)
    with pytest.raises(VersionMissing, match="other: no such version"):
        build_report(lake, "other", out=tmp_path)
    with (
        open_lake(tmp_path / "empty") as empty,
        pytest.raises(VersionMissing, match="none yet"),
    ):
        build_report(empty, "small", out=tmp_path)


def test_a_version_of_equal_content_has_the_same_model(lake: Lake) -> None:
    facts = gather_facts(lake, "twin")
    assert facts["model"]["model_id"] == "m1"
    assert facts["exam"]["exam_id"] == "e1"


def test_a_place_that_cannot_be_written_is_one_message(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here first")
    with pytest.raises(ReportFailed, match=r"file/page\.html cannot be written: .*name another"):
        build_report(lake, "small", out=tmp_path / "file" / "page.html")
    assert (tmp_path / "file").read_text() == "here first"


def test_figures_say_so_where_there_is_nothing_to_draw() -> None:
    quota = pl.DataFrame(schema={"category": pl.String, "pairs": pl.Int64, "quota": pl.Int64})
    flips = pl.DataFrame({"annotator": ["j"], "agree": [0], "flipped": [0]})
    curve = pl.DataFrame({"step": [1], "loss": [None], "accuracy": [0.5]})
    scores = {"name": ["m"], "score": [None], "ci_low": [None], "ci_high": [None]}
    for note in (
        figures.plot_funnel([]),
        figures.plot_margins([]),
        figures.plot_lengths([], [3]),
        figures.plot_categories(quota),
        figures.plot_order_flips(flips),
        figures.plot_training(curve),
        figures.plot_exam(pl.DataFrame(scores)),
    ):
        assert re.fullmatch(r'<p class="no-data">No data: [^<>]+\.</p>', note)


def test_figures_take_odd_frames() -> None:
    assert "a$b$ &lt;c&gt;" in figures.plot_categories(
        pl.DataFrame({"category": ["a$b$ <c>"], "pairs": [0], "quota": [5]})
    )
    many = pl.DataFrame({"category": [f"c{n:03}" for n in range(90)], "pairs": [3] * 90})
    drawn = figures.plot_categories(many.with_columns(quota=pl.lit(None, pl.Int64)))
    assert "the 40 largest of 90" in drawn
    assert "log scale" in figures.plot_lengths([0, 5], [900_000, 12])
    assert "log scale" not in figures.plot_lengths([7, 7], [7])
    exam = {"name": ["m"], "score": [0.5], "ci_low": [None], "ci_high": [None]}
    assert figures.plot_exam(pl.DataFrame(exam)).startswith("<svg")
