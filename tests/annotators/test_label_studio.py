"""The desk, against a real Label Studio, and the reading of what it exports."""

from __future__ import annotations

import json
import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from annotators.label_studio import (
    Desk,
    DeskRefused,
    DeskUnreachable,
    connect_desk,
    ensure_project,
    name_person,
    pull_annotations,
    push_tasks,
    read_annotation,
)
from engines.assets import assets_folder
from tests import stub_server

CONFIG = (assets_folder() / "label_studio" / "pairwise.xml").read_text()
URL = "http://127.0.0.1:1"


def make_task(number: int) -> dict[str, str]:
    return {
        "review_id": f"review-{number:04}",
        "prompt": f"What is {number} + 1?\n    <think> & \\( x \\)",
        "left": f"<answer>{number + 1}</answer>",
        "right": "I do not know. " * 20,
    }


def make_results(choices: list[str], comment: str | None = None) -> list[dict[str, Any]]:
    """What the interface sends, but with the `to_name` that its pairwise mode makes up."""
    chosen = {
        "id": "c",
        "from_name": "preference",
        "to_name": "left,right",
        "type": "choices",
        "value": {"choices": choices},
    }
    said = {
        "id": "t",
        "from_name": "comment",
        "to_name": "prompt",
        "type": "textarea",
        "value": {"text": [comment]},
    }
    return [chosen, *([said] if comment else [])]


def make_raw(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "completed_by": 3,
        "result": make_results(["left"]),
        "was_cancelled": False,
        "updated_at": "2026-01-02T03:04:05Z",
        "lead_time": 12.5,
        "unique_id": "6c3c59dd",
        **changes,
    }


def read(**changes: Any) -> Any:
    return read_annotation(URL, {"review_id": "r"}, make_raw(**changes))


def test_an_annotation_is_read() -> None:
    got = read(result=make_results(["right"], "shorter\nand right "))
    assert (got.review_id, got.unique_id, got.choice) == ("r", "6c3c59dd", "right")
    assert got.updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (got.comment, got.seconds, got.cancelled) == ("shorter\nand right", 12.5, False)
    assert json.loads(got.raw)["lead_time"] == 12.5


@pytest.mark.parametrize(
    "changes",
    [
        {"result": []},
        {"result": None},
        {"result": make_results([])},
        {"result": make_results(["left", "right"])},
        {"result": make_results(["left"]) + make_results(["right"])},
        {"result": make_results(["Left!"])},
        {"result": [{**make_results(["left"])[0], "from_name": "other"}]},
        {"was_cancelled": True},
    ],
)
def test_what_is_no_preference_is_kept_without_a_choice(changes: dict[str, Any]) -> None:
    got = read(**changes)
    assert got.choice is None and got.unique_id == "6c3c59dd"
    assert got.cancelled is changes.get("was_cancelled", False)


def test_a_result_is_known_by_from_name_alone() -> None:
    moved = [{**result, "to_name": "elsewhere"} for result in make_results(["tie"], "equal")]
    got = read(result=moved)
    assert (got.choice, got.comment) == ("tie", "equal")


def test_a_task_made_by_hand_belongs_to_no_review() -> None:
    assert read_annotation(URL, {"text": "hello"}, make_raw()).review_id is None


def test_people_are_told_apart_and_not_named() -> None:
    names = {name_person(u, i) for u in (URL, "http://127.0.0.1:2") for i in (1, 2)}
    assert len(names) == 4
    assert name_person(URL, 3) == read().person and read().person.startswith("person-")


def test_a_desk_is_known_by_its_url_and_a_local_one_at_every_port() -> None:
    assert Desk(URL, "t").name == URL
    before, after = (Desk(f"http://127.0.0.1:{port}", "t", local=True) for port in (1, 2))
    assert before.name == after.name != Desk(URL, "of another machine", local=True).name


def test_the_shipped_config_is_blind() -> None:
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface(CONFIG)
    interface.validate()
    assert {o.value for o in interface.objects} == {"$prompt", "$left", "$right"}
    controls = {c.name: c for c in interface.controls}
    assert controls["preference"].labels == ["left", "right", "tie"]
    assert controls["comment"].attr["required"] == "false"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("<View>", "not valid"),
        (CONFIG.replace('toName="prompt"', 'toName="nothing"'), "nothing"),
        (CONFIG.replace('"preference"', '"better"'), "preference"),
        (CONFIG.replace('value="tie"', 'value="equal"'), "left, right, tie"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_sent(config: str, said: str) -> None:
    with pytest.raises(DeskRefused, match=said):
        ensure_project(Desk(URL, "t"), "wrong", config)


@pytest.mark.parametrize("change", [{"model": "gpt"}, {"left": None}])
def test_a_task_that_would_unblind_or_is_no_text_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DeskRefused, match="review-0001"):
        push_tasks(Desk(URL, "t"), 1, [{**make_task(1), **change}])


def test_a_desk_that_is_not_there_is_told_with_its_mend() -> None:
    with socket.socket() as held:  # bound, never listening
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(DeskUnreachable, match=f"{url}.*assay up label-studio"):
            connect_desk(url, "token")
    with pytest.raises(DeskUnreachable, match="LABEL_STUDIO_API_KEY"):
        connect_desk(URL, " ")


def test_a_server_that_is_no_label_studio_is_told() -> None:
    with stub_server.run_stub() as stub, pytest.raises(DeskUnreachable, match="not as Label"):
        connect_desk(stub.url, "token")


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_pairs_go_to_the_desk_and_come_back(label_studio: Any) -> None:
    from label_studio_sdk import LabelStudio

    desk = connect_desk(label_studio.url + "/", label_studio.token)
    client = LabelStudio(base_url=desk.url, api_key=desk.token)
    assert desk.token not in repr(desk)
    with pytest.raises(DeskUnreachable, match=f"{desk.url}.*LABEL_STUDIO_API_KEY"):
        connect_desk(desk.url, "0" * 40)

    title = f"Assay test {uuid.uuid4().hex}"
    project = ensure_project(desk, title, CONFIG)
    try:
        assert ensure_project(desk, title, CONFIG) == project
        assert ensure_project(desk, title[:-1], CONFIG) != project, "titles match whole"
        with pytest.raises(DeskRefused, match="choose another title"):
            ensure_project(desk, title, CONFIG.replace('"comment"', '"remark"'))

        tasks = [make_task(i) for i in range(1000)]
        first = push_tasks(desk, project, tasks[:600])
        every = push_tasks(desk, project, [*tasks, tasks[0]])
        assert push_tasks(desk, project, tasks) == every
        assert {k: every[k] for k in first} == first and len(set(every.values())) == 1000
        stored = list(client.tasks.list(project=project, page_size=500, fields="task_only"))
        assert {t.id: t.data for t in stored} == {every[t["review_id"]]: t for t in tasks}
        assert pull_annotations(desk, project) == []

        answers = {0: make_results(["left"], "because"), 1: make_results(["tie"]), 2: []}
        made = {
            i: client.annotations.create(every[f"review-{i:04}"], result=result, lead_time=2.5)
            for i, result in answers.items()
        }
        client.annotations.create(every["review-0003"], result=[], was_cancelled=True)
        # The overlap is 1, and the Community edition takes a second annotation all the same.
        client.annotations.create(every["review-0001"], result=make_results(["right"]))

        pulled = pull_annotations(desk, project)
        assert sorted(
            (a.review_id, a.choice, a.comment, a.seconds, a.cancelled)
            for a in pulled
            if a.choice or a.comment
        ) == [
            ("review-0000", "left", "because", 2.5, False),
            ("review-0001", "right", None, None, False),
            ("review-0001", "tie", None, 2.5, False),
        ]
        empty = {a.review_id: a.cancelled for a in pulled if a.choice is None}
        assert empty == {"review-0002": False, "review-0003": True}
        assert len({a.unique_id for a in pulled}) == len(pulled) == 5
        me = client.users.whoami()
        assert {a.person for a in pulled} == {name_person(desk.url, me.id)}
        assert not any(me.email in a.raw for a in pulled)
        assert pull_annotations(desk, project) == pulled

        client.annotations.update(made[0].id, result=make_results(["right"]))
        (before,) = (a for a in pulled if a.review_id == "review-0000")
        (after,) = (a for a in pull_annotations(desk, project) if a.review_id == "review-0000")
        assert after.unique_id == before.unique_id and after.updated_at > before.updated_at
        assert after.choice == "right"
    finally:
        for found in list(client.projects.list(title=title[:-1])):
            client.projects.delete(found.id)
    with pytest.raises(DeskRefused, match="404"):
        pull_annotations(desk, project)
