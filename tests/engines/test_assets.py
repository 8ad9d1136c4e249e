"""Files by name: a recipe's own beats the working directory's, which beats the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.assets import AssetMissing, assets_folder, find_asset
from pipelines.steps import _place
from schemas.sourcing import ImportSource

NAME = "judges/pairwise.jinja"


def write(file: Path) -> Path:
    file.parent.mkdir(parents=True)
    file.write_text(file.parent.name)
    return file


def test_the_recipe_s_folder_then_the_working_directory_then_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, elsewhere = tmp_path / "recipe", tmp_path / "cron"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert find_asset(NAME, base) == assets_folder() / NAME
    working = write(elsewhere / NAME)
    assert find_asset(NAME, base).absolute() == find_asset(NAME).absolute() == working
    own = write(base / NAME)
    assert find_asset(NAME, base) == own
    assert find_asset(NAME).absolute() == working
    assert find_asset(str(working), base) == working
    assert _place(ImportSource(path=NAME, name="a"), base).path == str(own)
    with pytest.raises(AssetMissing, match=r"pairwise\.jinja"):
        find_asset("judges/none.jinja", base)
