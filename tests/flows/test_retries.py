"""What a flow tries again: a connection that broke, and nothing that would only fail once more."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from annotators.desk import DeskRefused, DeskUnreachable, connect_desk
from engines.chat import ServerUnreachable
from flows.commands.people import find_desk


def is_retried(condition: Any, error: Exception) -> bool:
    """Whether Prefect would run a task again that ended with `error`."""
    from prefect.states import Failed

    return bool(condition(None, None, Failed(data=error)))


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a desk that refuses every token."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"detail": "Invalid token."}')

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_curate_tries_a_broken_connection_again_and_nothing_else() -> None:
    from flows.curate import _is_transient

    assert is_retried(_is_transient, ServerUnreachable("the connection broke", transient=True))
    for error in (
        ServerUnreachable("it refuses the key"),
        ConnectionError("not of a model's server"),
        ValueError("a bug"),
    ):
        assert not is_retried(_is_transient, error)


def test_review_pull_tries_a_desk_that_is_away_again_and_a_refused_token_never(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.review import _is_transient, review_pull

    asked: dict[str, Any] = {}

    def note(**settings: Any) -> Any:
        asked.update(settings)
        return lambda _work: dict

    monkeypatch.setattr("flows.review.task", note)
    review_pull.fn("lake")
    assert (asked["retries"], asked["retry_condition_fn"]) == (2, _is_transient)

    with pytest.raises(DeskUnreachable, match="no Label Studio answers") as away:
        connect_desk("http://127.0.0.1:1", "token")
    assert is_retried(_is_transient, away.value)

    with pytest.raises(DeskUnreachable, match="refuses the token") as refused:
        connect_desk(refusing, "token")
    with pytest.raises(DeskUnreachable, match="no token") as tokenless:
        connect_desk(refusing, "")
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.setattr("engines.services.find_service", lambda _: None)
    with pytest.raises(DeskUnreachable, match="no Label Studio runs here") as nowhere:
        find_desk(None)
    with pytest.raises(DeskUnreachable) as mistyped:
        connect_desk("htp://127.0.0.1:1", "token")
    for caught in (refused, tokenless, nowhere, mistyped):
        assert not is_retried(_is_transient, caught.value)
    assert not is_retried(_is_transient, DeskRefused("another question"))
    assert not is_retried(_is_transient, ValueError("a bug"))
