"""An export is a data set that loads as it is; a push is one commit."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import datasets
import polars as pl
import pytest
import yaml

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.recipes import find_recipe
from pipelines.ship.export import ExportFailed, export_version, holds_version, push_version
from pipelines.ship.publish import Published, find_version, publish_version
from pipelines.steps import SETTLING_STEPS, open_work, run_step
from tests.conftest import run_assay, run_here
from tests.hub_server import run_hub

TOKEN = "hf_aTokenThatNobodyMayRead"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with `tiny@1`."""
    place = tmp_path_factory.mktemp("tiny") / "lake"
    recipe, base = find_recipe("tiny")
    with open_work(str(place), recipe, base) as work:
        for name in ("import", *SETTLING_STEPS):
            run_step(work, name)
        publish_version(work.lake, work.run, work.look())
    return place


@pytest.fixture
def lake(folder: Path) -> Lake:
    with open_lake(folder) as lake:
        yield lake


@pytest.fixture
def version(lake: Lake) -> Published:
    return find_version(lake, "tiny")


def read_head(card: str) -> dict[str, object]:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def list_files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_an_export_loads_as_it_is(lake: Lake, version: Published, tmp_path: Path) -> None:
    place = export_version(lake, version, tmp_path / "deep" / "tiny")
    loaded = datasets.load_from_disk(str(place))
    assert set(loaded) == {"train", "test"}
    sides = {name: set(part["split"]) for name, part in loaded.items()}
    assert sides == {"train": {"train"}, "test": {"test"}}
    assert sum(len(part) for part in loaded.values()) == version.rows == 12
    assert not set(loaded["train"]["pair_id"]) & set(loaded["test"]["pair_id"])
    rows = {row["prompt"][0]["content"]: row for part in loaded.values() for row in part.to_list()}
    row = rows["How many minutes are in two hours?"]
    assert row["prompt"] == [{"role": "user", "content": "How many minutes are in two hours?"}]
    good = "There are 120 minutes in two hours."
    assert row["chosen"] == [{"role": "assistant", "content": good}]
    assert row["rejected"] == [{"role": "assistant", "content": "Two hours have 100 minutes."}]
    assert (row["licence"], row["source"], row["tier"]) == ("Apache-2.0", "tiny", "candidate")
    assert row["margin"] == pytest.approx(2 * row["probability"] - 1)
    stamp = json.loads((place / "assay.json").read_text())
    assert stamp["fingerprint"] == version.fingerprint
    assert (stamp["name"], stamp["version"], stamp["rows"]) == ("tiny", 1, 12)
    assert [file.name for file in place.parent.iterdir()] == ["tiny"]


def test_the_card_says_what_is_in_it(lake: Lake, version: Published, tmp_path: Path) -> None:
    card = (export_version(lake, version, tmp_path / "tiny") / "README.md").read_text("utf-8")
    head = read_head(card)
    assert head["license"] == "apache-2.0"
    assert head["pretty_name"] == "tiny 1"
    assert "configs" not in head, "a saved folder holds no Parquet"
    assert f"12 preference pairs, fingerprint `{version.fingerprint}`" in card
    splits = version.metrics["splits"]
    assert f"| train | {splits['train']} | {splits['train'] / 12:.1%} |" in card
    assert f"| test | {splits['test']} | {splits['test'] / 12:.1%} |" in card
    assert "No model judged these pairs." in card
    assert "Candidate rows carry an imported label" in card
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    again = tmp_path / "recipe.yaml"
    again.write_text(yaml.safe_dump(recipe))
    assert f"Recipe hash `{find_recipe(str(again))[0].recipe_hash}`" in card


def test_an_earlier_export_is_replaced_whole(
    lake: Lake, version: Published, tmp_path: Path
) -> None:
    place = export_version(lake, version, tmp_path / "tiny")
    first = list_files(place)
    (place / "train" / "left-over.arrow").write_bytes(b"old")
    (place / "README.md").write_text("old")
    export_version(lake, version, place)
    assert list_files(place) == first
    assert "12 preference pairs" in (place / "README.md").read_text()
    assert len(datasets.load_from_disk(str(place))["train"]) == version.metrics["splits"]["train"]
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_an_export_of_other_content_is_known_and_replaced(
    lake: Lake, version: Published, tmp_path: Path
) -> None:
    place = tmp_path / "tiny"
    assert not holds_version(place, version), "nothing is there"
    export_version(lake, replace(version, fingerprint="another lake's"), place)
    assert not holds_version(place, version)
    export_version(lake, version, place)
    assert holds_version(place, version)
    (place / "assay.json").write_text("{")
    assert not holds_version(place, version)


def test_a_replacement_that_fails_leaves_the_earlier_export(
    lake: Lake, version: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = export_version(lake, version, tmp_path / "tiny")
    rename = Path.rename

    def fail_the_last_step(self: Path, target: Path) -> Path:
        if target == place and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_the_last_step)
    with pytest.raises(ExportFailed, match="tiny cannot be written: No space left on device"):
        export_version(lake, version, place)
    assert holds_version(place, version)
    assert [file.name for file in tmp_path.iterdir()] == ["tiny"]


def test_somebody_elses_folder_is_left_alone(
    lake: Lake, version: Published, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(ExportFailed, match="no export of Assay; name another"):
        export_version(lake, version, tmp_path)
    assert list_files(tmp_path) == ["thesis.txt"]
    with pytest.raises(ExportFailed, match=r"thesis\.txt/tiny cannot be written"):
        export_version(lake, version, tmp_path / "thesis.txt" / "tiny")
    with pytest.raises(ExportFailed, match=r"thesis\.txt is a file"):
        export_version(lake, version, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"
    (tmp_path / "assay.json").write_text('{"kind": "of gold"}')
    with pytest.raises(ExportFailed, match="no export of Assay; name another"):
        export_version(lake, version, tmp_path)
    assert list_files(tmp_path) == ["assay.json", "thesis.txt"]


def test_pairs_that_cannot_be_read_are_no_export(
    lake: Lake, version: Published, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match="has 13 pairs and 12 of them could be read"):
        export_version(lake, replace(version, rows=13), tmp_path / "tiny")
    assert list_files(tmp_path) == []


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The environment of a push: the plain upload, a home without a saved token."""
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return monkeypatch


def test_a_push_is_one_commit(
    folder: Path, lake: Lake, version: Published, pushing: pytest.MonkeyPatch
) -> None:
    with run_hub(TOKEN) as hub:
        pushing.setenv("HF_ENDPOINT", hub.url)
        pushing.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        done = run_assay("export", "tiny@1", "--lake", folder, "--to", "hub:org/name", "--json")
        assert done.returncode == 0, done.stderr
        [commit] = hub.commits
        assert json.loads(done.stdout) == {
            "version": "tiny@1",
            "export": f"{hub.url}/datasets/org/name/commit/{1:040x}",
        }
        made = hub.repositories["org/name"]
        assert (made["type"], made["visibility"]) == ("dataset", "private")

        push_version(lake, version, "org/name")  # a repository that is there is used
        assert hub.commits[1].files == commit.files, "the same version gives the same bytes"
        assert hub.refused == []
    assert TOKEN not in done.stdout and TOKEN not in done.stderr

    assert (commit.repository, commit.summary) == ("org/name", "tiny@1 (12 pairs)")
    assert commit.description == f"fingerprint {version.fingerprint}"
    parquet = {name: f"data/{name}-00000-of-00001.parquet" for name in ("train", "test")}
    assert set(commit.files) == {*parquet.values(), "README.md", "assay.json"}
    assert json.loads(commit.files["assay.json"])["fingerprint"] == version.fingerprint
    head = read_head(commit.files["README.md"].decode())
    assert head["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": name, "path": f"data/{name}-*.parquet"} for name in ("train", "test")
            ],
        }
    ]
    rows = 0
    for name, path in parquet.items():
        frame = pl.read_parquet(io.BytesIO(commit.files[path]))
        assert set(frame["split"]) == {name}
        assert frame["chosen"][0][0].keys() == {"role", "content"}
        rows += len(frame)
    assert rows == version.rows


def test_a_refused_token_is_one_message_that_does_not_show_it(
    folder: Path, pushing: pytest.MonkeyPatch
) -> None:
    with run_hub("another token") as hub:
        pushing.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        done = run_here("export", "tiny", "--lake", folder, "--to", "hub:org/name")
        assert hub.refused and hub.commits == []
    assert (done.returncode, done.stdout) == (1, "")
    _, _, message = done.stderr.partition("error: hub:org/name: ")
    assert "403" in message and "HF_TOKEN" in message
    assert TOKEN not in done.stderr and "Traceback" not in done.stderr


def test_bytes_that_do_not_arrive_are_no_commit(
    lake: Lake, version: Published, pushing: pytest.MonkeyPatch
) -> None:
    with run_hub(TOKEN, fail_uploads=True) as hub:
        pushing.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        with pytest.raises(ExportFailed, match=r"hub:org/name: .*uploading 'data/t") as raised:
            push_version(lake, version, "org/name")
        assert hub.commits == []
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("name", ["org/name", "org/name/more", "org/na me", ""])
def test_a_name_or_a_hub_that_cannot_be_is_one_message(
    lake: Lake, version: Published, pushing: pytest.MonkeyPatch, name: str
) -> None:
    pushing.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportFailed, match=rf"^hub:{name}: .*; check the name ORG/NAME") as raised:
        push_version(lake, version, name)
    assert ("Repo id" in str(raised.value)) == (name != "org/name")
