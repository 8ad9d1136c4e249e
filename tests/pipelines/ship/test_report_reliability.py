"""The section "Reliability" of a report: three people and two judges on a small lake of recorded
opinions, and lakes where little can be said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.ranking.conclusions import CYCLES, GROUPS
from annotators.rubrics.policy import POLICIES
from annotators.rubrics.taxonomy import COUNTS
from pipelines.label.reliability import Reliability, measure_annotators
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.layouts import OPINIONS
from pipelines.lake.run import new_run
from pipelines.ship import report_reliability
from pipelines.ship.figures import shorten
from pipelines.ship.figures_reliability import LINES_AT_MOST, plot_calibration, tint
from pipelines.ship.report import build_report, gather_facts, render_report
from pipelines.ship.report_reliability import describe_reliability
from schemas.ids import make_pair_id
from tests.pipelines.lake.pools import bring, write_jsonl
from tests.pipelines.ship.test_report import Page, make_version

PAIRS = 60
ANN, BOB, CYD = "import:pool/ann", "import:pool/bob", "import:pool/cyd"
J1, J2 = "import:pool/<b>judge & 1</b>", "import:pool/judge-2"
CHECKER = "import:pool/checker"

Record = dict[str, Any]


def make_records(number: int) -> list[Record]:
    """The first response is the better and the longer one. Of every ten pairs bob errs on the last
    and cyd calls a tie on the last but one; judge 1 takes what is shown first on pair 7 and is
    wrong on 8 and 9; judge 2 is wrong on 8 and cannot be read on 9."""
    place = number % 10
    pair = {
        "prompt": f"Question {number}?",
        "response_a": f"Good and long {number}.",
        "response_b": f"Poor {number}.",
        "category": "<i>prose" if number % 2 else "maths",
    }

    def say(annotator: str, **said: Any) -> Record:
        who = annotator.removeprefix("import:pool/")
        kind = "human" if annotator in (ANN, BOB, CYD) else "llm"
        return {**pair, "annotator": who, "kind": kind, **said}

    cost = {"tokens_in": 90, "tokens_out": 10, "seconds": 0.5}
    sure = {"ab": 0.9, "ba": 0.1} if place == 7 else dict.fromkeys(("ab", "ba"), 0.8)
    if place > 7:
        sure = dict.fromkeys(("ab", "ba"), 0.3)
    second = {"verdict": "B" if place == 8 else "A"}
    return [
        say(ANN, verdict="A"),
        say(BOB, verdict="B" if place == 9 else "A"),
        say(CYD, verdict="tie" if place == 8 else "A"),
        *(say(J1, p_a=p, order=order, **cost) for order, p in sure.items()),
        say(J2, order="ab", **({"verdict": None, "raw": "?"} if place == 9 else second)),
        say(CHECKER, verdict="A", criterion="tone"),
    ]


def make_lake(folder: Path, records: list[Record], outside: list[Record]) -> Lake:
    """A lake with `small@1` of the pairs of `records`, and with opinions `outside` of it."""
    lake = open_lake(folder / "lake")
    bring(lake, write_jsonl(folder / "pool.jsonl", *records), name="pool", layout=OPINIONS)
    pairs = lake.query(
        "SELECT DISTINCT prompt_id, response_a, response_b, category "
        "FROM judgments JOIN prompts USING (prompt_id) ORDER BY ALL"
    )
    if outside:
        bring(lake, write_jsonl(folder / "other.jsonl", *outside), name="other", layout=OPINIONS)
    more = {"name": "small", "version": 1, "probability": 0.8, "margin": 0.6, "weight": 1.0,
            "tier": "candidate", "decided_by": "import", "annotators": [], "licence": "X",
            "split": "train", "source": "pool"}  # fmt: skip
    frozen = [
        {**more, "prompt_id": prompt_id, "pair_id": make_pair_id(prompt_id, a, b), "chosen_id": a,
         "rejected_id": b, "category": category}
        for prompt_id, a, b, category in pairs.iter_rows()
    ]  # fmt: skip
    version = make_version(lake.snapshot(), rows=len(frozen))
    lake.append({"version_pairs": frozen, "versions": [version]}, run=new_run(), stage="test")
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Sixty pairs in the version; one that is not, with a stranger; one late opinion."""
    folder = tmp_path_factory.mktemp("reliability")
    records = [record for number in range(PAIRS) for record in make_records(number)]
    stranger = {**make_records(99)[0], "annotator": "stranger"}
    with make_lake(folder, records, [stranger]) as lake:
        late = write_jsonl(folder / "late.jsonl", {**records[0], "annotator": "late"})
        bring(lake, late, name="pool", layout=OPINIONS)
        yield lake


@pytest.fixture(scope="module")
def all_facts(lake: Lake) -> dict[str, Any]:
    return gather_facts(lake, "small")


@pytest.fixture(scope="module")
def facts(all_facts: dict[str, Any]) -> dict[str, Any]:
    return all_facts["reliability"]


@pytest.fixture(scope="module")
def found(lake: Lake) -> Reliability:
    return measure_annotators(lake, version=("small", 1))


def read_section(page: str) -> str:
    """The section with its tags."""
    return page[page.index('<section id="reliability">') : page.index('<section id="composition">')]


def read_text(html: str) -> str:
    """What a reader sees, cells apart."""
    return " ".join(re.sub(r"<[^>]*>", "", re.sub("<(t[dh]|small)", r" <\1", html)).split())


def test_gold_is_what_people_say_of_the_prompts_of_the_version(facts: dict[str, Any]) -> None:
    assert facts["gold"] == {"pairs": PAIRS, "ties": 0, "sources": [ANN, BOB, CYD]}
    assert [card["annotator"] for card in facts["cards"]] == [J1, ANN, BOB, CYD, J2]
    assert [card["number"] for card in facts["cards"]] == [1, 2, 3, 4, 5]
    assert facts["apart"] == [CHECKER]


def test_cards_say_what_was_planted(facts: dict[str, Any]) -> None:
    cards = {card["annotator"]: card for card in facts["cards"]}
    # with one of two others in doubt gold is a tie, on every pair 8 and 9
    assert [cards[who]["accuracy"] for who in (ANN, BOB, CYD)] == pytest.approx([0.8] * 3)
    one, two = cards[J1], cards[J2]
    assert (one["n"], one["parse_failures"], two["n"], two["parse_failures"]) == (120, 0, 60, 6)
    assert (one["accuracy"], two["accuracy"]) == pytest.approx((15 / 20, 8 / 9))
    assert (one["n_gold"], two["n_gold"]) == (60, 54)
    assert one["orders_agree"] == pytest.approx(0.9)
    assert one["accuracy_when_orders_agree"] == pytest.approx(7 / 9)
    assert one["first_position_rate"] == pytest.approx(11 / 20)
    assert (two["longer_wins_rate"], two["longer_wins_base"]) == pytest.approx((8 / 9, 1.0))
    assert (one["tokens_per_label"], one["seconds_per_label"]) == (200, 1)
    assert two["tokens_per_label"] is None
    assert two["orders_agree"] is None, "it was asked in one order"


def test_categories_and_matrices_name_each_cell(facts: dict[str, Any], found: Reliability) -> None:
    prose, maths = facts["categories"]
    assert (prose["category"], maths["category"]) == ("<i>prose", "maths")
    assert maths["cells"][4] | {"value": pytest.approx(4 / 5), "n": 30} == maths["cells"][4]
    assert (prose["cells"][4]["value"], prose["cells"][4]["n"]) == (1.0, 24)
    assert len(maths["cells"]) == len(facts["columns"]) == 5
    kappas, errors = facts["kappas"], facts["errors"]
    assert [head["annotator"] for head in kappas["heads"]] == [J1, ANN, BOB, CYD, J2]
    assert [row["cells"][place] for place, row in enumerate(kappas["rows"])] == ["same"] * 5
    known = found.kappas.row(
        by_predicate=(pl.col("annotator_1") == ANN) & (pl.col("annotator_2") == BOB), named=True
    )
    assert kappas["rows"][1]["cells"][2]["value"] == pytest.approx(known["kappa"])
    assert kappas["rows"][1]["cells"][2] == kappas["rows"][2]["cells"][1]
    assert [head["number"] for head in errors["heads"]] == [1, 5], "judges alone"
    phi = errors["rows"][0]["cells"][1]
    assert (phi["value"], phi["n"]) == (pytest.approx(7 / 112**0.5), 54)
    assert errors["rows"][1]["cells"][0] == phi


def test_the_section_says_it_in_words_and_escapes_names(all_facts: dict[str, Any]) -> None:
    page = render_report(all_facts)
    assert not Page(page).open
    assert '<a href="#reliability">' in page
    section, text = read_section(page), read_text(read_section(page))
    assert f"{ANN}, {BOB} and {CYD} on 60 pairs, 0 of them ties" in text
    assert "import:pool/&lt;b&gt;judge &amp; 1&lt;/b&gt; 120 0 75.0 %" in text
    assert "<b>judge" not in section
    assert "<i>" not in section
    assert "100 % 24" in text
    assert f"All categories (60 pairs of gold with a verdict) Ask {J2} (weight" in text
    assert "Too little gold to choose for these alone: &lt;i&gt;prose (30), maths (30)" in text
    assert f"on single responses or criteria: {CHECKER}" in text
    assert section.count("<svg") == 1
    assert 'aria-label="Reliability plot' in section
    assert section.count("<table") == section.count("<caption") == 5
    assert "stranger" not in section and "pool/late" not in section


def test_the_same_lake_gives_the_same_bytes(
    lake: Lake, all_facts: dict[str, Any], tmp_path: Path
) -> None:
    page = build_report(lake, "small", out=tmp_path).read_text("utf-8")
    assert page == render_report(all_facts)


def test_what_was_measured_then_is_what_is_reported(lake: Lake, found: Reliability) -> None:
    assert "import:pool/late" in found.sources, "the newest state of the lake knows it"
    assert "import:other/stranger" not in found.cards["annotator"]
    assert "import:other/stranger" in measure_annotators(lake).cards["annotator"]


def test_of_many_annotators_those_with_the_most_opinions_are_shown(
    found: Reliability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_reliability, "CARDS_AT_MOST", 4)
    monkeypatch.setattr(report_reliability, "COLUMNS_AT_MOST", 2)
    facts = describe_reliability(found)
    assert [card["annotator"] for card in facts["cards"]] == [J1, ANN, BOB, CYD]
    assert facts["cards_left_out"] == 2
    assert facts["columns"] == [{"number": 1, "annotator": J1}, {"number": 2, "annotator": ANN}]
    assert len(facts["kappas"]["rows"]) == len(facts["categories"][0]["cells"]) == 2
    assert facts["errors"] is None


def report_on(folder: Path, records: list[Record]) -> tuple[dict[str, Any], str]:
    with make_lake(folder, records, []) as lake:
        facts = gather_facts(lake, "small")
    page = render_report(facts)
    assert not Page(page).open
    return facts["reliability"], read_section(page)


def test_without_gold_the_section_says_so(tmp_path: Path) -> None:
    records = [r for number in range(10) for r in make_records(number) if r["kind"] == "llm"]
    facts, section = report_on(tmp_path, records)
    assert facts["gold"] == {"pairs": 0, "ties": 0, "sources": []}
    assert [card["accuracy"] for card in facts["cards"]] == [None, None]
    assert (facts["categories"], facts["errors"], facts["plans"]) == ([], None, [])
    assert "No gold." in section
    assert "recommends" not in section and "<svg" not in section
    assert section.count("<table") == 2, "the cards, and how the two agree"


def test_one_annotator_is_measured_against_nobody(tmp_path: Path) -> None:
    facts, section = report_on(tmp_path, [make_records(number)[0] for number in range(10)])
    (card,) = facts["cards"]
    assert (card["n"], card["n_gold"], card["accuracy"]) == (10, 0, None)
    assert (facts["kappas"], facts["errors"], facts["categories"]) == (None, None, [])
    assert "No two annotators share a pair" in section
    assert "Gold is too little to choose: 0 pairs" in section
    assert "No data: no verdict of a judge can be held against gold." in section


def test_opinions_on_criteria_alone_are_no_opinion_on_a_pair(tmp_path: Path) -> None:
    facts, section = report_on(tmp_path, [make_records(0)[-1]])
    assert (facts["cards"], facts["apart"]) == ([], [CHECKER])
    assert "Nobody has an opinion on a pair of these prompts." in section


def test_groups_policies_and_failures_have_tables_of_their_own(
    all_facts: dict[str, Any], found: Reliability
) -> None:
    assert "Groups and single responses" not in read_section(render_report(all_facts))
    policy = {"policy": "<i>calm", "version": 1, "annotator": "policy-calm-v1:m", "judged": 3,
              "broken": 2, "stale": True}  # fmt: skip
    failure = {**dict.fromkeys(COUNTS), "annotator": "failures-x-v1:m", "failure_class": "facts",
               "checked": 4, "found": 1, "share": 0.25, "labelled": 0}  # fmt: skip
    told = describe_reliability(
        replace(
            found,
            rankings=pl.DataFrame([("ranking:m", 9, 2, 1)], schema=GROUPS, orient="row"),
            cycles=pl.DataFrame([("ranking:m", "p1", ["r1", "r2", "r3"])] * 9, schema=CYCLES,
                                orient="row"),
            policies=pl.DataFrame([policy], schema=POLICIES),
            failures=pl.DataFrame([failure], schema=COUNTS),
        )
    )  # fmt: skip
    told["cards"][0]["calls_failed"] = 3
    page = render_report({**all_facts, "reliability": told})
    assert not Page(page).open
    text = read_text(read_section(page))
    assert "ranking:m 9 2 1" in text
    assert text.count("Cycle: r1 beats r2 beats r3 beats r1 (prompt p1)") == 5
    assert "policy-calm-v1:m &lt;i&gt;calm 1 3 2 yes" in text
    assert "failures-x-v1:m facts 4 1 25.0 %" in text
    assert "120 0 3 failed 75.0 %" in text


def test_the_plot_draws_those_with_the_most_verdicts() -> None:
    names = [f"judge {place} $x$ <b>" for place in range(LINES_AT_MOST + 3)]
    rows = [
        {"annotator": name, "n": place + 1, "p": p, "truth": p - 0.1}
        for place, name in enumerate(names)
        for p in (0.55, 0.95)
    ]
    drawn = plot_calibration(pl.DataFrame(rows))
    assert drawn == plot_calibration(pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=1))
    shown = re.findall(r"judge (\d) \$x\$ &lt;b&gt; \(n = (\d+)\)", drawn)
    assert shown == [(str(place), str(2 * place + 2)) for place in range(3, 9)]
    assert "(6 of 9 annotators)" in drawn
    assert plot_calibration(pl.DataFrame(rows[:1])).startswith("<svg")


def test_tints_and_short_names() -> None:
    assert (tint(0), tint(1), tint(-1), tint(5)) == ("#ffffff", "#80b8d8", "#f2cf80", "#80b8d8")
    assert shorten("pairwise:model@1:abc", 11) == "pairw…1:abc"
    assert len(shorten("x" * 99, 30)) == 30
    assert shorten("short", 5) == "short"
