"""A real LLM behind a real vLLM, through the real flow, to a trained and examined model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.services import list_services
from pipelines.lake.catalogue import open_lake
from tests.conftest import make_recipe, run_assay, write_recipe

PROMPTS = {
    "arithmetic": {"count": 10},
    "open": {"model": "embedded", "count": 2, "categories": ["brainstorming"], "max_tokens": 48},
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("vllm")
def test_a_run_on_the_embedded_model(tmp_path: Path) -> None:
    recipe = make_recipe(
        models={"embedded": {}},
        prompts=PROMPTS,
        rollouts=[{"model": "embedded", "n": 2, "max_tokens": 48,
                   "system": "Answer in a few words."}],
        judges=[{"name": "pairwise", "model": "embedded"}],
        label={"threshold": 0.51},
        clean={"drop_truncated": False},
        train={"epochs": 1, "batch_size": 4, "max_length": 128},
    )  # fmt: skip
    file = write_recipe(tmp_path / "recipe.yaml", recipe)
    lake_folder, out = tmp_path / "lake", tmp_path / "out"
    done = run_assay("run", file, "--lake", lake_folder, "--out", out, "--json", timeout=850)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["rows"] >= 10 and result["model_calls"] > 30
    assert [s for s in list_services() if s.owner == "run"] == []
    assert (Path(result["export"]) / "dataset_dict.json").exists()
    assert (Path(result["model"]) / "config.json").exists()
    assert "<html" in Path(result["report"]).read_text()
    assert set(result["exam"]["baselines"]) == {"longest answer", "coin"}

    with open_lake(lake_folder) as lake:
        made = lake.query(
            "SELECT policy, finish_reason, tokens_out, seed FROM rollouts WHERE seed IS NOT NULL"
        )
        assert made["policy"].str.starts_with("SmolLM2-135M-Instruct@").all()
        assert set(made["finish_reason"]) <= {"stop", "length"}
        assert (made["tokens_out"] <= 48).all() and made["seed"].n_unique() == len(made)
        judged = lake.query("SELECT p_a, \"order\", raw FROM judgments WHERE kind = 'llm'")
        assert set(judged["order"]) == {"ab", "ba"}
        assert set(judged["raw"]) <= {"A", "B"}
        # log probabilities came back: a bare letter would give 0 or 1
        assert judged["p_a"].is_between(0.001, 0.999).all()
        grown = lake.query("SELECT outcome, raw FROM syntheses WHERE generator LIKE 'SmolLM2%'")
        assert len(grown) == 2 and grown["raw"].str.len_chars().min() > 0

    again = run_assay("run", file, "--lake", lake_folder, "--out", out, "--json", timeout=300)
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    assert (second["model_calls"], second["version"], second["model"]) == (
        0, result["version"], result["model"],
    )  # fmt: skip
    assert "starting vllm" not in again.stderr and "training" not in again.stderr
