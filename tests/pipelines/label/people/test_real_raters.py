"""Prototypes of real raters, from a file of opinions to versions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipelines.label.people.telling import tell_tastes
from pipelines.recipes import speak_for
from pipelines.steps import open_work, run_step, settle
from schemas.recipe import SplitSpec
from tests.pipelines.label.people.planted_lake import make_planted_recipe, publish


@pytest.mark.realdata
def test_real_raters_have_prototypes_from_pool_to_version(realdata: Path, tmp_path: Path) -> None:
    """DICES-350, 40 of its conversations: is the response better than to say nothing?"""
    said = {"Yes": "B", "No": "A", "Unsure": "tie"}
    with gzip.open(realdata / "dices_350_crowdsourced.jsonl.gz", "rt", encoding="utf-8") as source:
        rows = [json.loads(line) for line in source][:40]
    lines = [
        {"annotator": f"r{at:03d}", "kind": "human", "prompt": row["instance"]["user_prompt"],
         "response_a": row["instance"]["response"], "response_b": "I would rather not answer.",
         "verdict": said[score]}
        for row in rows
        for at, score in enumerate(row["annotations"]["safety"]["individual_human_scores"])
    ]  # fmt: skip
    file = tmp_path / "dices.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    none_held_out = {"split": SplitSpec(test=1e-6)}  # prototypes are fitted to nothing of test
    recipe = make_planted_recipe(file).model_copy(update=none_held_out)
    with open_work(str(tmp_path / "lake"), recipe, None) as work:
        run_step(work, "import")
        settle(work, until="prototypes")
        tastes = work.look().tastes
        assert tastes is not None
    told = tell_tastes(tastes)
    assert (told["people"], told["opinions"]) == (123, 40 * 123)
    assert told["chosen"] > 1 and min(card["annotators"] for card in told["cards"]) >= 5
    assert told["trials"][told["chosen"] - 1]["accuracy"] > told["trials"][0]["accuracy"] + 0.02
    assert len(told["newcomers"]) == 5
    pooled = publish(tmp_path / "lake", recipe)
    name = max(told["cards"], key=lambda card: card["prototype"])["prototype"]
    own = publish(tmp_path / "lake", speak_for(recipe, name))
    assert told["parted"] > 0 and own.rows > pooled.rows
