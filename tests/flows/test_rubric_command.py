"""`assay rubric evolve`: a file of gold, a model that answers, a new rubric and its diff."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from annotators.rubrics.rubric import load_rubric, write_rubric
from flows.commands.rubric import rubric
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.errors import AssayError
from schemas.ids import make_prompt_id
from tests.annotators.rubrics.planted import follow, make_pairs, make_rubric, toss
from tests.conftest import make_recipe, write_recipe


def answer(body: dict[str, Any]) -> str:
    """Scores by the word that a criterion names, and proposes the one that is missing."""
    text = body["messages"][0]["content"]
    if "edits" in body["response_format"]["json_schema"]["schema"]["properties"]:
        amber = {"title": "amber", "description": "It has amber.", "kind": "core"}
        return json.dumps({"edits": [{"action": "modify", "number": 1, "criterion": amber}]})
    shown, _, criteria = text.partition("[Answer A]")[2].partition("[Criteria]")
    first, _, second = shown.partition("[Answer B]")
    word = criteria.split("1. ")[1].split(":")[0]
    score = 2 * ((word in first) - (word in second))
    return json.dumps({"1": {"evidence": "seen", "score": score}})


@pytest.fixture
def server() -> Iterator[dict[str, Any]]:
    """A chat server in a thread; `calls` counts what it was asked."""
    known: dict[str, Any] = {"calls": 0}

    async def chat(request: web.Request) -> web.Response:
        known["calls"] += 1
        message = {"role": "assistant", "content": answer(await request.json())}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return web.json_response({"choices": [choice], "usage": usage})

    loop = asyncio.new_event_loop()

    async def start() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        known["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield known
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def folder(tmp_path: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rubric, a recipe with the server's model, and the place of the outputs."""
    write_recipe(tmp_path / "recipe.yaml", make_recipe(server["url"]))
    (tmp_path / "start.yaml").write_text(write_rubric(make_rubric({"birch": "core"})))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_gold(file: Path, truth: Any, count: int = 40) -> None:
    lines = [
        {"prompt": pair.item.messages, "response_a": pair.item.contents[0],
         "response_b": pair.item.contents[1], "p_a": pair.p_a}
        for pair in make_pairs(count, 6, truth)
    ]  # fmt: skip
    file.write_text("\n".join(json.dumps(line) for line in lines))


def evolve(*arguments: str) -> Any:
    command = ["evolve", "start.yaml", "--model", "recipe.yaml", *arguments]
    return CliRunner().invoke(rubric, command, catch_exceptions=False)


def test_a_gain_on_unseen_pairs_is_written_as_a_rubric_and_a_diff(folder: Path) -> None:
    write_gold(folder / "gold.jsonl", follow(make_rubric({"amber": "core"})))
    done = evolve("--gold", "gold.jsonl", "--out", "better")
    assert done.exit_code == 0, done.output
    assert "recommended: read the diff" in done.output and "16 held-out pairs" in done.output
    new = load_rubric(folder / "better.new.yaml")
    assert [c.title for c in new.criteria] == ["amber"] and new.version == 2
    assert "+- title: amber" in (folder / "better.diff").read_text()
    assert "wrote better.new.yaml" in done.output


def test_no_gain_writes_nothing_and_says_why(folder: Path) -> None:
    write_gold(folder / "gold.jsonl", toss)
    done = evolve("--gold", "gold.jsonl", "--json", "--rounds", "2")
    said = json.loads(done.stdout)
    assert (said["recommended"], said["written"]) == (False, [])
    assert said["interval"][0] <= 0 and said["history"][0]["edit"] is None
    assert list(folder.glob("*.new.yaml")) == []


def test_gold_of_a_lake_is_used_and_its_answers_are_paid_for_once(
    folder: Path, server: dict[str, Any]
) -> None:
    pairs = make_pairs(24, 6, follow(make_rubric({"amber": "core"})))
    prompts, responses, judgments = [], [], []
    for pair in pairs:
        item = pair.item
        prompts.append({"prompt_id": item.prompt_id, "messages": list(item.messages),
                        "category": "any", "source": "s", "licence": "MIT"})  # fmt: skip
        responses += [
            {"response_id": response, "prompt_id": item.prompt_id, "content": content}
            for response, content in zip(item.response_ids, item.contents, strict=True)
        ]
        judgments.append(
            {"judgment_id": item.target, "annotator": "ana", "kind": "human", "valid": True,
             "prompt_id": item.prompt_id, "response_a": item.response_ids[0],
             "response_b": item.response_ids[1], "p_a": pair.p_a, "tie": pair.p_a == 0.5,
             "sample_index": 0}
        )  # fmt: skip
    splits = [
        {"prompt_id": row["prompt_id"], "cluster_id": row["prompt_id"], "split": "train"}
        for row in prompts
    ]
    with open_lake(folder / "lake") as lake:
        rows = {"prompts": prompts, "responses": responses, "judgments": judgments,
                "splits": splits}  # fmt: skip
        lake.append(rows, run=new_run(), stage="test")
    first = evolve("--lake", "lake", "--json", "--rounds", "1")
    said = json.loads(first.stdout)
    assert said["recommended"] and said["dev_pairs"] + said["test_pairs"] == 24
    calls = server["calls"]
    assert (
        json.loads(evolve("--lake", "lake", "--json", "--rounds", "1").stdout)["gain"]
        == said["gain"]
    )
    assert server["calls"] - calls < 10  # edits are proposed anew, scores are not
    assert calls > 2 * said["dev_pairs"]


def test_gold_of_a_file_that_is_the_exam_of_the_lake_teaches_nothing(folder: Path) -> None:
    """Nor does what is near to it: the same prompt with one word more."""
    pairs = make_pairs(40, 6, follow(make_rubric({"amber": "core"})))
    tale = "tell me of the old bridge over the river and of the people who built it in winter"
    asked = [list(pair.item.messages) for pair in pairs[:10]]
    asked.append([{"role": "user", "content": tale}])
    prompts = [
        {"prompt_id": make_prompt_id(messages), "messages": messages, "category": "any",
         "source": "s", "licence": "MIT"}
        for messages in asked
    ]  # fmt: skip
    splits = [
        {"prompt_id": row["prompt_id"], "cluster_id": row["prompt_id"],
         "split": "train" if 6 <= at < 10 else "test"}
        for at, row in enumerate(prompts)
    ]  # fmt: skip
    with open_lake(folder / "lake") as lake:
        lake.append({"prompts": prompts, "splits": splits}, run=new_run(), stage="test")
    write_gold(folder / "gold.jsonl", follow(make_rubric({"amber": "core"})))
    done = evolve("--gold", "gold.jsonl", "--lake", "lake", "--rounds", "1")
    assert "6 of 40 gold pairs of gold.jsonl are left out" in done.output
    rows = [json.loads(line) for line in (folder / "gold.jsonl").read_text().splitlines()[:3]]
    near = [json.dumps({**row, "prompt": f"{tale} long ago"}) for row in rows]
    (folder / "near.jsonl").write_text("\n".join(near))
    with pytest.raises(AssayError, match=r"near.jsonl: all of its 3 gold pairs are of the exam"):
        evolve("--gold", "near.jsonl", "--lake", "lake")


def test_help_has_an_example() -> None:
    shown = CliRunner().invoke(rubric, ["evolve", "--help"])
    assert "assay rubric evolve advice" in shown.output and "--gold" in shown.output
