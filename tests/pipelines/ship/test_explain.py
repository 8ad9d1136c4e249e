"""Everything the lake knows of a pair: published, waiting for people, or dropped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.recipes import find_recipe
from pipelines.ship.explain import PairUnknown, explain_pair, render_explanation
from pipelines.ship.publish import find_version, publish_version, read_pairs
from pipelines.steps import SETTLING_STEPS, open_work, run_step
from schemas.ids import make_pair_id
from schemas.recipe import LabelSpec


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """The twelve pairs of `tiny`: published, and undecided in a second recipe."""
    place = str(tmp_path_factory.mktemp("explain") / "lake")
    recipe, base = find_recipe("tiny")
    unheard = recipe.model_copy(update={"name": "unheard", "label": LabelSpec(policy="judge_only")})
    with open_work(place, recipe, base) as work:
        for step in ("import", *SETTLING_STEPS):
            run_step(work, step)
        publish_version(work.lake, work.run, work.look())
    with open_work(place, unheard, base) as work:
        for step in SETTLING_STEPS:
            run_step(work, step)
    with open_lake(place) as opened:
        yield opened


@pytest.fixture(scope="module")
def pair_ids(lake: Lake) -> list[str]:
    return read_pairs(lake, find_version(lake, "tiny@1"))["pair_id"].to_list()


def test_a_published_pair_is_told_from_prompt_to_version(lake: Lake, pair_ids: list[str]) -> None:
    told = explain_pair(lake, pair_ids[0])
    assert told.keys() == {
        "pair_id", "prompt", "responses", "judgments", "decisions", "versions",
    }  # fmt: skip
    frozen = read_pairs(lake, find_version(lake, "tiny@1")).row(0, named=True)
    first, second = told["responses"]
    assert (first["label"], second["label"]) == ("a", "b")
    assert first["response_id"] < second["response_id"]
    prompt_id = told["prompt"]["prompt_id"]
    ids = (first["response_id"], second["response_id"])
    assert make_pair_id(prompt_id, *ids) == told["pair_id"] == pair_ids[0]
    assert set(ids) == {frozen["chosen_id"], frozen["rejected_id"]}
    assert told["prompt"]["messages"][0]["role"] == "user"
    assert (told["prompt"]["category"], told["prompt"]["licence"]) == ("general", "Apache-2.0")
    assert all(side["content"] for side in told["responses"])
    assert {r["policy"] for side in told["responses"] for r in side["rollouts"]} == {"import:tiny"}
    [opinion] = told["judgments"]  # the pool's own label, which the version follows
    assert (opinion["kind"], opinion["valid"]) == ("import", True)
    assert opinion["response_a"] == ids[0]
    assert (opinion["p_a"] > 0.5) == (frozen["chosen_id"] == ids[0])
    [version] = told["versions"]
    assert (version["name"], version["version"], version["decided_by"]) == ("tiny", 1, "import")
    [waits] = [row for row in told["decisions"] if row["action"] == "to_review"]
    assert (waits["stage"], waits["rule"]) == ("label", "no_opinion")  # of the second recipe


def test_the_lines_for_people_hold_the_same(lake: Lake, pair_ids: list[str]) -> None:
    told = explain_pair(lake, pair_ids[0])
    lines = render_explanation(told).splitlines()
    assert lines[0] == f"pair {pair_ids[0]}"
    assert told["prompt"]["messages"][0]["content"] in lines[2]
    for side in told["responses"]:
        at = lines.index(f"response {side['label'].upper()} {side['response_id']}")
        assert side["content"].split()[0] in lines[at + 1]
    assert "by no_opinion (nobody has said anything): " in "\n".join(lines)
    assert "opinions (1)" in lines and f"decisions ({len(told['decisions'])})" in lines
    chosen = next(
        side["label"].upper()
        for side in told["responses"]
        if side["response_id"] == told["versions"][0]["chosen_id"]
    )
    assert lines[-1].startswith(f"  tiny@1: {chosen} chosen with probability ")


def test_the_first_digits_are_enough_while_one_pair_has_them(
    lake: Lake, pair_ids: list[str]
) -> None:
    ordered = sorted(pair_ids)
    near = next((a, b) for a, b in itertools.pairwise(ordered) if a[0] == b[0])
    shared = next(n for n in range(1, 32) if near[0][:n] != near[1][:n])
    assert explain_pair(lake, near[0][: shared + 6])["pair_id"] == near[0]
    with pytest.raises(PairUnknown) as several:
        explain_pair(lake, near[0][: shared - 1])
    assert near[0] in str(several.value) and near[1] in str(several.value)


@pytest.mark.parametrize("start", ["zz", "0" * 32])
def test_a_pair_that_nobody_knows_is_one_message_with_the_mend(lake: Lake, start: str) -> None:
    with pytest.raises(PairUnknown, match=f"^{start} is no pair that this lake knows; `assay exp"):
        explain_pair(lake, start)


def test_a_pair_that_only_waits_for_people_is_told_too(tmp_path: Path) -> None:
    place = str(tmp_path / "lake")
    recipe, base = find_recipe("tiny")
    unheard = recipe.model_copy(update={"label": LabelSpec(policy="judge_only")})
    with open_work(place, unheard, base) as work:
        for step in ("import", *SETTLING_STEPS):
            run_step(work, step)
        pair_id = work.lake.query("SELECT item_id FROM decisions WHERE action = 'to_review'")[
            "item_id"
        ][0]
        told = explain_pair(work.lake, pair_id)
    assert (told["pair_id"], told["versions"]) == (pair_id, [])
    assert len(told["responses"]) == 2 and told["decisions"][0]["rule"] == "no_opinion"
    assert render_explanation(told).splitlines()[-1] == "versions (0)"


def test_a_score_without_a_criterion_is_called_a_score(lake: Lake, pair_ids: list[str]) -> None:
    told = explain_pair(lake, pair_ids[0])
    score = {**told["judgments"][0], "p_a": None, "score": 7.0, "criterion": None}
    said = [{**score, "annotator": "g", "sample_index": sample} for sample in (0, 2)]
    said.append({**score, "annotator": "p", "criterion": "calm"})
    lines = render_explanation({**told, "judgments": said}).splitlines()
    assert [line for line in lines if " of A: 7" in line] == [
        "  g: score of A: 7",
        "  g: score of A: 7 (sample 2)",
        "  p: calm of A: 7",
    ]
    assert told["judgments"][0]["sample_index"] == 0
