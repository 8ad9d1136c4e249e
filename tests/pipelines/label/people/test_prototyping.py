"""Prototypes through the lake: planted groups are found, labelled by, and kept from being averaged
away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from benchmarks.prototypes import SETTINGS, Planted, plant_groups
from flows.cli import assay
from pipelines.label.people import prototyping
from pipelines.label.people.fits import read_fit
from pipelines.label.people.tastes import PARTED, PrototypeUnknown, Tastes, heed_tastes
from pipelines.label.people.voices import find_voices
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from pipelines.recipes import speak_for
from pipelines.ship.card import write_card
from pipelines.ship.explain import explain_pair
from pipelines.ship.export import make_rows
from pipelines.ship.publish import Published
from pipelines.ship.report import gather_facts, render_report
from pipelines.steps import Work, open_work, run_step
from schemas.recipe import Recipe, RecipeError, parse_recipe
from tests.conftest import write_recipe
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import answer_as, fill_lake, list_pushed, open_desk
from tests.pipelines.label.people.planted_lake import (
    embed_numbers,
    find_new,
    make_planted_recipe,
    publish,
    write_opinions,
)

FIRST, LAST = 0, 59  # a person of either group


@dataclass
class Ground:
    """A lake of planted people after everything was published: the pooled version and one of
    either prototype, and which prototype is whose."""

    work: Work
    planted: Planted
    url: Path
    recipe: Recipe
    pooled: Published
    own: dict[str, Published]
    whose: dict[int, str]

    @property
    def lake(self) -> Lake:
        return self.work.lake

    @property
    def tastes(self) -> Tastes:
        found = self.work.look().tastes
        assert found is not None
        return found

    def find_new(self, who: int) -> list[Any]:
        responses = self.lake.query("FROM responses")
        return find_new(self.work.look().pairs, responses, self.planted, who)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("planted")
    planted = plant_groups(*SETTINGS["opposed in part"], seed=0)
    write_opinions(planted, folder / "opinions.jsonl")
    recipe = make_planted_recipe(folder / "opinions.jsonl")
    url = folder / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.lake.vectors.embed_texts", embed_numbers)
        with open_work(str(url), recipe, None) as work:
            run_step(work, "import")
        pooled = publish(url, recipe)
        own = {
            name: publish(url, speak_for(recipe, name)) for name in ("prototype_1", "prototype_2")
        }
        with open_work(str(url), recipe, None) as work:
            tastes = work.look().tastes
            assert tastes is not None
            members = dict(tastes.fit.found.members.select("annotator", "prototype").iter_rows())
            whose = {who: members[f"import:planted/u{who:02d}"] for who in (FIRST, LAST)}
            yield Ground(work, planted, url, recipe, pooled, own, whose)


def count_taught(ground: Ground) -> int:
    """How many of the 1,200 opinions are on prompts outside test: what prototypes are fitted to."""
    said = find_voices(ground.lake, ["planted"])
    held_out = ground.lake.query("SELECT prompt_id FROM splits WHERE split = 'test'")
    taught = said.join(held_out, on="prompt_id", how="anti")
    assert len(said) == 1200 and 1000 < len(taught) < 1200
    return len(taught)


def test_planted_groups_are_found_in_the_lake(ground: Ground) -> None:
    fit = ground.tastes.fit
    assert fit.people == {"prototype_1": 30, "prototype_2": 30}
    taught = count_taught(ground)
    assert (fit.opinions, fit.pairs, fit.of_pool) == (taught, taught, True)
    of = {row["annotator"]: row["prototype"] for row in fit.found.members.iter_rows(named=True)}
    assert [of[f"import:planted/u{who:02d}"] for who in range(60)] == (
        [ground.whose[FIRST]] * 30 + [ground.whose[LAST]] * 30
    )
    assert fit.newcomers is not None
    curve = fit.newcomers["accuracy"].to_list()
    assert curve[-1] > curve[0] + 0.15


def test_prototypes_know_new_pairs_where_the_pool_cannot(ground: Ground) -> None:
    """Two groups of opposed tastes: one model for all is right on two thirds of new pairs."""
    said = {row["pair_id"]: row for row in ground.tastes.said.iter_rows(named=True)}
    right: dict[str, list[bool]] = {"pool": [], "own": []}
    for who in (FIRST, LAST):
        for pair_id, takes_a in ground.find_new(who):
            right["pool"].append((said[pair_id]["p_pool"] > 0.5) == takes_a)
            right["own"].append((said[pair_id][f"p_{ground.whose[who]}"] > 0.5) == takes_a)
    assert len(right["own"]) == 200
    assert np.mean(right["pool"]) == pytest.approx(0.66, abs=0.08)
    assert np.mean(right["own"]) >= 0.95


def test_a_published_version_has_the_labels_of_its_prototype(ground: Ground) -> None:
    for who in (FIRST, LAST):
        version = ground.own[ground.whose[who]]
        assert version.name == f"planted.{ground.whose[who]}"
        chosen = {
            row["pair_id"]: row["chosen_id"] < row["rejected_id"]
            for row in read_version(ground, version).iter_rows(named=True)
        }
        new = [(chosen[pair], takes_a) for pair, takes_a in ground.find_new(who) if pair in chosen]
        assert len(new) > 80
        assert np.mean([a == takes_a for a, takes_a in new]) >= 0.95
    deciders = read_version(ground, ground.own["prototype_1"])
    assert set(deciders["decided_by"]) == {"prototype"}
    assert set(deciders["tier"]) == {"candidate"}, "only an imported pool spoke"
    (annotator,) = {name for names in deciders["annotators"] for name in names}
    assert annotator.startswith("prototype:") and annotator.endswith(":prototype_1")


def read_version(ground: Ground, version: Published) -> pl.DataFrame:
    return ground.lake.query(
        "FROM version_pairs WHERE name = ? AND version = ?", [version.name, version.version]
    )


def test_what_prototypes_part_on_is_routed_and_not_averaged_away(ground: Ground) -> None:
    parted = ground.tastes.said.filter("parted")
    assert 0 < len(parted) < len(ground.tastes.said)
    p = parted.select("p_prototype_1", "p_prototype_2").to_numpy()
    assert ((p.max(axis=1) >= 0.55) & (p.min(axis=1) <= 0.45)).all()
    pooled = read_version(ground, ground.pooled)
    assert not set(pooled["pair_id"]) & set(parted["pair_id"])
    first = read_version(ground, ground.own["prototype_1"])
    assert set(parted["pair_id"]) & set(first["pair_id"]), "they are in the versions of prototypes"
    pair_id = parted["pair_id"][0]
    (decision,) = [
        row for row in explain_pair(ground.lake, pair_id)["decisions"] if row["rule"] == PARTED
    ]
    assert (decision["action"], decision["stage"]) == ("to_review", "label")
    assert (
        "takes A with probability" in decision["reason"] and "people) takes B" in decision["reason"]
    )
    assert decision["value"] == pytest.approx(parted["torn"][0]) and decision["value"] >= 0.55


def test_a_recipe_may_keep_the_label_of_everybody(ground: Ground) -> None:
    labels = ground.work.look().labels
    assert (labels["reason"] == PARTED).sum() > 0
    kept = make_planted_recipe(
        Path(ground.recipe.prompts.imports[0].path), review={"prototypes": {"parted": "label"}}
    )
    silent = kept.model_copy(update={"review": kept.review.model_copy(update={"prototypes": None})})
    for recipe in (kept, silent):
        view = replace(ground.work, recipe=recipe, _seen={}).look()
        assert not (view.labels["reason"] == PARTED).any()


def test_verified_and_recorded_truth_is_no_matter_of_taste(ground: Ground) -> None:
    labels = ground.work.look().labels.clear()
    pair_id = ground.tastes.said.filter("parted")["pair_id"][0]
    rows = [
        {"pair_id": pair_id, "status": "labelled", "p_a": 1.0, "tier": "gold", "decided_by": who,
         "annotators": ["x"], "agreement": 1.0, "entropy": 0.0}
        for who in ("verifier", "gold", "human", "llm", "import")
    ]  # fmt: skip
    given = pl.concat([labels, pl.DataFrame(rows, schema_overrides=labels.schema)], how="diagonal")
    heard = heed_tastes(given, ground.tastes, ground.recipe)
    assert heard["status"].to_list() == ["labelled"] * 2 + ["to_review"] * 3
    assert heard["tier"].to_list() == ["gold"] * 2 + [None] * 3
    own = heed_tastes(given, ground.tastes, speak_for(ground.recipe, "prototype_1"))
    assert own["decided_by"].to_list() == ["verifier", "gold", *["prototype"] * 3]


def test_a_second_run_fits_nothing_and_embeds_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("pipelines.lake.vectors.embed_texts", f"{prototyping.__name__}.fit_prototypes"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("worked again"))
    again = publish(ground.url, ground.recipe)
    assert (again.version, again.new) == (ground.pooled.version, False)


def test_the_export_has_both_probabilities_and_the_card_says_whose_labels(ground: Ground) -> None:
    version = ground.own["prototype_2"]
    rows = make_rows(ground.lake, version)
    assert (rows["p_prototype"] - rows["probability"]).abs().max() < 1e-6
    assert rows["p_pool"].min() < 0.5 < rows["p_pool"].max(), "the pool would choose otherwise"
    assert "p_pool" not in make_rows(ground.lake, ground.pooled).columns
    card = write_card(ground.lake, version)
    assert "label of `prototype_2`: 30 of 60 people" in card
    assert "prototype" not in write_card(ground.lake, ground.pooled).split("## Columns")[0]


def test_the_report_tells_of_prototypes_and_of_what_they_part_on(ground: Ground) -> None:
    facts = gather_facts(ground.lake, "planted")
    told = facts["prototypes"]
    assert told["parted"] == (ground.work.look().labels["reason"] == PARTED).sum()
    assert len(told["examples"]) == 3 and told["of"] is None
    page = render_report(facts)
    assert 'id="people"' in page and "Where people differ for good" in page
    assert told["examples"][0]["why"] in page and "one model for everybody" in page
    own = gather_facts(ground.lake, "planted.prototype_1")
    assert own["prototypes"]["of"] == "prototype_1"
    assert "are those of <code>prototype_1</code>" in render_report(own)


def test_the_command_tells_what_was_tried_and_writes_members(
    ground: Ground, tmp_path: Path
) -> None:
    file = write_recipe(tmp_path / "planted.yaml", ground.recipe)
    where = ("--lake", str(ground.url))
    members = tmp_path / "deep" / "members.csv"
    done = CliRunner().invoke(
        assay, ["prototypes", str(file), *where, "--members", str(members)], catch_exceptions=False
    )
    assert done.exit_code == 0
    taught = f"{count_taught(ground):,}"
    assert f"{taught} opinions of 60 people on {taught} pairs" in done.stdout
    for words in (
        "2 (chosen)",
        "prototype_2",
        "a newcomer, by opinions seen",
        "prototypes part on",
    ):
        assert words in done.stdout
    written = pl.read_csv(members)
    assert written.columns == ["annotator", "prototype", "probability", "opinions"]
    assert len(written) == 60
    told = CliRunner().invoke(assay, ["prototypes", str(file), *where, "--json"])
    assert json.loads(told.stdout)["chosen"] == 2


def test_a_prototype_that_is_not_there_is_refused_with_the_reason(ground: Ground) -> None:
    with pytest.raises(PrototypeUnknown, match=r"there are prototype_1 \(30 people\)"):
        publish(ground.url, speak_for(ground.recipe, "prototype_3"))
    with pytest.raises(RecipeError, match="prototype"):
        speak_for(ground.recipe, "pool")
    tastes = ground.tastes
    found = replace(
        tastes.fit.found,
        merged=(4,),
        cards=tastes.fit.found.cards.with_columns(annotators=pl.Series([30, 4])),
    )
    few = replace(tastes, fit=replace(tastes.fit, found=found))
    with pytest.raises(PrototypeUnknown, match="fewer people than a prototype must"):
        heed_tastes(ground.work.look().labels, few, speak_for(ground.recipe, "prototype_2"))


def test_a_recipe_that_names_a_prototype_must_have_prototypes(ground: Ground) -> None:
    content = ground.recipe.model_dump(mode="json")
    content["review"]["prototypes"], content["label"]["prototype"] = None, "prototype_1"
    with pytest.raises(RecipeError, match=r"add `prototypes: \{\}` under review"):
        parse_recipe(content)
    content["review"]["prototypes"] = {"least": 4}
    with pytest.raises(RecipeError, match="greater than or equal to 5"):
        parse_recipe(content)


def test_a_fit_comes_back_from_the_lake_as_it_was(ground: Ground) -> None:
    one, two = ground.tastes.fit, read_fit(ground.lake, ground.tastes.fit.fit_id)
    assert two is not None
    assert two.found.weights.tolist() == one.found.weights.tolist()
    assert two.found.members.equals(one.found.members) and two.found.cards.equals(one.found.cards)
    assert read_fit(ground.lake, "never") is None


@pytest.mark.parametrize("asked", [4, 5])
def test_what_fewer_than_five_said_of_a_pair_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """Everybody's taste is x0; some are asked about one more pair, and say what x0 denies."""
    monkeypatch.setattr("pipelines.lake.vectors.embed_texts", embed_numbers)
    generator = np.random.default_rng(0)
    lines = []
    for who in range(20):
        for at in range(16):
            x = generator.normal(size=3)
            side = (x[0] > 0) == (who < 12)
            lines.append((f"u{who:02d}", f"{who}-{at}", x, float(side)))
    lines += [(f"u{who:02d}", "odd", np.array([2.0, 0, 0]), 0.0) for who in range(asked)]
    file = tmp_path / "opinions.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({"annotator": who, "kind": "human", "prompt": f"{name}?", "p_a": y,
                        "response_a": " ".join(map(str, x)), "response_b": "0 0 0"})
            for who, name, x, y in lines
        )
    )  # fmt: skip
    recipe = make_planted_recipe(file)
    with open_work(str(tmp_path / "lake"), recipe, None) as work:
        for step in ("import", "dedup", "split", "filter_responses", "prototypes"):
            run_step(work, step)
        view = work.look()
        assert view.tastes is not None and len(view.tastes.fit.people) == 2
        (odd,) = work.lake.query("SELECT response_id FROM responses WHERE content = '2.0 0.0 0.0'")[
            "response_id"
        ]
        pair = view.pairs.filter((pl.col("response_a") == odd) | (pl.col("response_b") == odd))
        row = view.tastes.said.join(pair, on="pair_id").row(0, named=True)
    p = row["p_prototype_1"] if row["response_a"] == odd else 1 - row["p_prototype_1"]
    assert (p > 0.8) if asked == 4 else (p < 0.3)


def test_nobody_to_fit_is_said(tmp_path: Path) -> None:
    file = tmp_path / "opinions.jsonl"
    line = {"annotator": "m", "kind": "llm", "prompt": "?", "response_a": "1", "response_b": "2"}
    file.write_text(json.dumps({**line, "p_a": 1.0}))
    recipe = write_recipe(
        tmp_path / "r.yaml", make_planted_recipe(file, label={"policy": "imported"})
    )
    where = ["--lake", str(tmp_path / "lake")]
    with open_work(str(tmp_path / "lake"), make_planted_recipe(file), None) as work:
        run_step(work, "import")
    done = CliRunner().invoke(assay, ["prototypes", str(recipe), *where])
    assert isinstance(done.exception, PrototypeUnknown)
    assert "no person has judged a pair here" in str(done.exception)


def test_our_own_people_count_once_their_batch_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.label.people.assessing import assess_batches
    from pipelines.label.people.pulling import pull_reviews
    from pipelines.label.people.pushing import push_reviews
    from pipelines.label.people.releasing import release_batch
    from schemas.recipe import ReviewSpec

    spec = ReviewSpec(overlap=2)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        assert isinstance(desk, FakeDesk)
        made = {pair["pair_id"]: pair for pair in fill_lake(lake, 6)}
        push_reviews(lake, new_run(), desk, spec)
        for review in list_pushed(lake):
            for person in ("ada", "bob"):
                answer_as(desk, lake, review, person, made[review["pair_id"]]["better"])
        pull_reviews(lake, new_run(), desk)
        assess_batches(lake, new_run(), spec)
        assert find_voices(lake, []).is_empty(), "nobody has vouched for it yet"
        (batch,) = lake.query("SELECT batch_id FROM batches")["batch_id"]
        release_batch(lake, new_run(), batch, "Mira", spec)
        heard = find_voices(lake, [])
        assert len(heard) == 12 and heard["annotator"].n_unique() == 2
        assert heard["annotator"].str.starts_with("person-").all(), "and not `people:BATCH`"
        for row in heard.iter_rows(named=True):
            pair = next(p for p in made.values() if p["response_a"] == row["response_a"])
            assert row["p_a"] == float(pair["better"] == "a")


def test_only_people_whom_a_pool_of_the_recipe_names_are_heard(ground: Ground) -> None:
    assert find_voices(ground.lake, []).is_empty()
    assert find_voices(ground.lake, ["plant"]).is_empty(), "a name that another begins with"
    heard = find_voices(ground.lake, ["planted"])
    assert heard["annotator"].n_unique() == 60 and len(heard) == 1200
