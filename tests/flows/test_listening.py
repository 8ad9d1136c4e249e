"""The webhook receiver: a secret, an answer at once, one event for many notices, nothing read."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flows.listening import HEADER, PATH, SecretMissing, listen_for_changes, make_listener

SECRET = "0123456789abcdef"


class Prefect:
    """Notes the events that it is told of; refuses the first `broken` of them."""

    def __init__(self, broken: int = 0) -> None:
        self.calls, self.broken = 0, broken

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.broken:
            raise ConnectionError("no server")

    def wait(self, calls: int) -> None:
        end = time.monotonic() + 10
        while self.calls < calls and time.monotonic() < end:
            time.sleep(0.01)
        assert self.calls == calls


def post(client: TestClient, **settings: Any) -> int:
    headers = settings.pop("headers", {HEADER: SECRET})
    return client.post(PATH, headers=headers, **settings).status_code


def test_a_notice_with_the_secret_emits_one_event_whatever_it_says() -> None:
    prefect = Prefect()
    with TestClient(make_listener(SECRET, prefect, pause=0.05)) as client:
        assert post(client, json={"action": "ANNOTATION_CREATED", "annotation": {"id": 1}}) == 204
        prefect.wait(1)
        assert post(client, content=b"\x00 not JSON" * 1000) == 204
        prefect.wait(2)


def test_without_the_secret_nothing_happens() -> None:
    prefect = Prefect()
    with TestClient(make_listener(SECRET, prefect, pause=0.0)) as client:
        for headers in ({}, {HEADER: ""}, {HEADER: SECRET[:-1]}, {HEADER: f"{SECRET}0"}):
            assert post(client, headers=headers, json={}) == 403
        assert post(client, headers={HEADER: b"\xff" * 16}) == 403
        assert client.get(PATH, headers={HEADER: SECRET}).status_code == 405
        time.sleep(0.1)
    assert prefect.calls == 0


def test_many_notices_are_one_event_and_a_last_one() -> None:
    prefect = Prefect()
    with TestClient(make_listener(SECRET, prefect, pause=0.5)) as client:
        assert {post(client) for _ in range(40)} == {204}
        prefect.wait(2)  # at the first, and after the pause for all of the others
        time.sleep(0.6)
    assert prefect.calls == 2


def test_the_answer_waits_for_nobody_and_an_absent_prefect_stops_nothing() -> None:
    prefect = Prefect(broken=1)

    def emit() -> None:
        time.sleep(0.5)
        prefect()

    with TestClient(make_listener(SECRET, emit, pause=0.0)) as client:
        started = time.monotonic()
        assert post(client) == 204
        assert time.monotonic() - started < 0.4
        prefect.wait(1)
        assert post(client) == 204
        prefect.wait(2)


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    with pytest.raises(SecretMissing, match="ASSAY_REVIEW_SECRET"):
        listen_for_changes(0, secret, lambda _: None)
