"""How a desk is reached, and what people are told where it is not."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from annotators.desk.client import (
    Desk,
    DeskRefused,
    DeskUnreachable,
    ask,
    connect_desk,
    list_tasks,
    name_person,
    speak_to,
)
from engines.services import Service
from tests import stub_server
from tests.annotators.desk.browser import make_account

URL = "http://127.0.0.1:1"


@pytest.fixture
def scripted() -> Iterator[tuple[str, list[tuple[int, Any]], list[str]]]:
    """A desk's address, the answers (status, body) it will give in turn, and what it was asked."""
    answers: list[tuple[int, Any]] = []
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers.pop(0)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers, asked
    server.shutdown()
    server.server_close()


def test_people_are_told_apart_and_not_named() -> None:
    names = {name_person(u, i) for u in (URL, "http://127.0.0.1:2") for i in (1, 2)}
    assert len(names) == 4 and all(name.startswith("person-") for name in names)


def test_a_desk_is_known_by_its_url_and_a_local_one_at_every_port() -> None:
    assert Desk(URL, "secret").name == URL
    assert "secret" not in repr(Desk(URL, "secret"))
    before, after = (Desk(f"http://127.0.0.1:{port}", "t", local=True) for port in (1, 2))
    assert before.name == after.name != Desk(URL, "of another machine", local=True).name


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


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, b"<html>", DeskUnreachable, "not as Label Studio"),
        (200, {"status": "ok"}, DeskUnreachable, "not as Label Studio"),
        (500, {"detail": "it broke"}, DeskUnreachable, "answered 500"),
        (502, b"bad gateway", DeskUnreachable, "answered 502"),
        (404, {"detail": "No Project matches"}, DeskRefused, "refused with 404: No Project"),
        (
            401,
            {"detail": "expired"},
            DeskUnreachable,
            "refuses the token: set LABEL_STUDIO_API_KEY",
        ),
        (400, {"detail": "no a-secret-token"}, DeskRefused, r"refused with 400: no \.\.\."),
    ],
)
def test_what_goes_wrong_is_one_message(
    scripted: Any, status: int, body: Any, error: type[Exception], said: str
) -> None:
    url, answers, _ = scripted
    answers.append((status, body))
    with pytest.raises(error, match=said) as caught:
        connect_desk(url, "a-secret-token")
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["a-secret\ntoken", "a-secret-tok\u0435n"])
def test_what_can_be_no_token_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(DeskUnreachable, match="LABEL_STUDIO_API_KEY") as caught:
        connect_desk(URL, token)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://me:a-secret@desk.example", "http://desk.example/?t=a-secret"]
)
def test_an_address_that_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(DeskUnreachable, match=r"desk\.example.*LABEL_STUDIO_API_KEY") as caught:
        connect_desk(url, "token")
    assert "secret" not in str(caught.value)


def test_a_desk_that_is_slow_is_told(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("annotators.desk.client.SECONDS", 0.2)
        with pytest.raises(DeskUnreachable, match="ReadTimeout"):
            connect_desk(f"http://127.0.0.1:{silent.getsockname()[1]}", "token")


def test_a_personal_token_is_changed_for_a_short_one_whenever_that_is_over(scripted: Any) -> None:
    url, answers, asked = scripted
    fresh = [(200, {"access": name}) for name in ("one", "two")]
    answers += [fresh[0], (200, {"id": 1}), (200, {"id": 1}), (401, {}), fresh[1], (200, {"id": 1})]
    with speak_to(Desk(url, "a.b.c")) as client:
        for _ in range(3):
            assert ask(client, "GET", "/api/x") == {"id": 1}
    assert [line.split(" ", 1)[1] for line in asked if "/x" in line] == [
        "Bearer one", "Bearer one", "Bearer one", "Bearer two",
    ]  # fmt: skip
    assert sum("/api/token/refresh" in line for line in asked) == 2


def test_a_listing_goes_on_where_it_was_whatever_the_desk_puts_on_a_page(scripted: Any) -> None:
    url, answers, asked = scripted
    pages = [[3, 4], [7], [9, 10, 11]]
    left = 6
    for page in pages:
        answers.append((200, {"tasks": [{"id": i} for i in page], "total": left}))
        left -= len(page)
    with speak_to(Desk(url, "t")) as client:
        assert [task["id"] for task in list_tasks(client, 5, "id")] == [3, 4, 7, 9, 10, 11]
    queries = [httpx.URL(line.split(" ")[0]).params["query"] for line in asked]
    above = [json.loads(query)["filters"]["items"][0]["value"] for query in queries]
    assert above == [0, 4, 7]


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_both_kinds_of_token_open_the_real_desk(label_studio: Service) -> None:
    desk = connect_desk(label_studio.url + "/", label_studio.token or "")
    assert desk.url == label_studio.url
    somebody = make_account(label_studio, "token")
    with speak_to(Desk(desk.url, somebody.token)) as client:
        personal = ask(client, "POST", "/api/token/")["token"]
    assert connect_desk(desk.url, personal).name == desk.url
    for wrong in ("0" * 40, personal[:-8] + "AAAAAAAA"):
        with pytest.raises(DeskUnreachable, match=f"{desk.url} refuses.*LABEL_STUDIO_API_KEY"):
            connect_desk(desk.url, wrong)
