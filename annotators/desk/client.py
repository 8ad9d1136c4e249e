"""A Label Studio server, and how it is spoken to: one connection, and failures told to people."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.errors import AssayError
from schemas.ids import make_id

SECONDS = 120.0
LONG_SECONDS = 1800.0  # of silence, before an export or an import is given up
TOLD_EVERY = 20.0
PAGE = 1000
PERSON = "person-"


class DeskUnreachable(AssayError):
    """Nothing, or no Label Studio, answers at the address, or it refuses the token."""


class DeskRefused(AssayError):
    """The desk cannot take this: a wrong labelling config, project or task."""


class DeskGone(DeskRefused):
    """What was asked for is not at the desk (any more)."""


@dataclass(frozen=True)
class Desk:
    """A Label Studio server and the token that opens it (never printed). `local` is the one that
    Assay starts itself, whose port may be another each time."""

    url: str
    token: str = field(repr=False)
    local: bool = False

    @property
    def name(self) -> str:
        """What the lake knows the desk by: its URL, and of a local one what stays when its port
        changes. (Several people, each with a local desk of their own, may share a lake.)"""
        return f"local-{make_id('desk', self.token)[:16]}" if self.local else self.url


def connect_desk(url: str, token: str, *, local: bool = False) -> Desk:
    """Check that a Label Studio answers at `url` and takes `token`: a legacy access token, or a
    personal one. `local`: see `Desk`.

    Raises:
        DeskUnreachable: it does not answer, is no Label Studio, or refuses the token.
    """
    desk = Desk(url.strip().rstrip("/"), token.strip(), local)
    address = urlsplit(desk.url)
    if address.username or address.password or address.query:  # it would stand in the lake
        raise DeskUnreachable(
            f"the address of the Label Studio at {address.hostname} holds more than a place: leave "
            "the user, the password and what follows `?` out, and set LABEL_STUDIO_API_KEY to the "
            "token"
        )
    if not desk.token:
        raise DeskUnreachable(
            f"no token for the Label Studio at {desk.url}: set LABEL_STUDIO_API_KEY to the access "
            "token of your account there"
        )
    if not (desk.token.isascii() and desk.token.isprintable()):
        raise DeskUnreachable(
            f"the token for the Label Studio at {desk.url} holds what no token can: set "
            "LABEL_STUDIO_API_KEY to the access token of your account there, and to nothing else"
        )
    with speak_to(desk) as client:
        answer = ask(client, "GET", "/api/current-user/whoami")
        if not (isinstance(answer, dict) and isinstance(answer.get("id"), int)):
            raise DeskUnreachable(f"{desk.url} answers, but not as Label Studio: check the address")
    return desk


def name_person(desk: str, user_id: int | None) -> str:
    """The pseudonym of a user of the desk of that name: the same at every pull from it."""
    return f"{PERSON}{make_id('person', desk, user_id)[:16]}"


@contextmanager
def speak_to(desk: Desk) -> Iterator[httpx.Client]:
    """A client of the desk's API, for `ask`; failures are told to people, the token in no message.

    Raises:
        DeskUnreachable: nobody answers, another kind of server does, or the token is refused.
        DeskGone: what is asked for is not there (404).
        DeskRefused: the desk says that the request cannot be met (400 to 499).
    """
    try:
        with httpx.Client(
            base_url=desk.url, auth=_Token(desk.token), timeout=SECONDS, follow_redirects=True
        ) as client:
            yield client
    except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
        raise DeskUnreachable(
            f"the Label Studio at {desk.url} was silent for too long ({type(error).__name__}): "
            "look whether it is busy or stuck, and run the same command again; nothing is lost or "
            "sent twice"
        ) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise DeskUnreachable(
            f"no Label Studio answers at {desk.url} ({type(error).__name__}): start one with "
            "`assay up label-studio`, or correct the address"
        ) from error
    except httpx.HTTPStatusError as error:
        raise _explain(desk, error.response) from error
    except json.JSONDecodeError as error:
        raise DeskUnreachable(
            f"{desk.url} answers, but not as Label Studio: check the address"
        ) from error


def ask(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The JSON that the desk answers with, None where it is empty. `options` are those of
    `httpx.Client.request`. Never tried again: an import that failed may have been taken."""
    response = client.request(method, path, **options).raise_for_status()
    return response.json() if response.content else None


@contextmanager
def tell_while_slow(tell: Callable[[str], None] | None, what: str) -> Iterator[None]:
    """While the block runs, say so every `TOLD_EVERY` seconds: `what`, and for how long already."""
    ended, started = threading.Event(), time.monotonic()

    def watch() -> None:
        while tell is not None and not ended.wait(TOLD_EVERY):
            tell(f"{what}: {time.monotonic() - started:.0f} s so far")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def list_tasks(
    client: httpx.Client, project_id: int, fields: str, *filters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The tasks of a project, by id, with these fields (their names, comma between).

    The next page is that of the ids above the last, for what is put there or deleted meanwhile
    would move numbered pages.
    """
    last = 0
    while True:
        above = {
            "filter": "filter:tasks:id",
            "operator": "greater",
            "type": "Number",
            "value": last,
        }
        query = {
            "filters": {"conjunction": "and", "items": [above, *filters]},
            "ordering": ["tasks:id"],
        }
        params = {"project": project_id, "page_size": PAGE, "fields": "task_only",
                  "include": fields, "query": json.dumps(query)}  # fmt: skip
        answer = ask(client, "GET", "/api/tasks", params=params)
        yield from answer["tasks"]
        if len(answer["tasks"]) >= answer["total"]:
            return
        last = answer["tasks"][-1]["id"]


def _explain(desk: Desk, response: httpx.Response) -> AssayError:
    code = response.status_code
    if code in (401, 403):
        return DeskUnreachable(
            f"the Label Studio at {desk.url} refuses the token: {_mend_token(desk)}"
        )
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and 400 <= code < 500:
        said = str(body.get("validation_errors") or body.get("detail") or body)
        said = (said.replace(desk.token, "...") if desk.token else said)[:500]
        return (DeskGone if code == 404 else DeskRefused)(
            f"the Label Studio at {desk.url} refused with {code}: {said}; see that what it names "
            "is still there"
        )
    return DeskUnreachable(
        f"{desk.url} answered {code}, not as Label Studio does: correct the address, or if it is "
        "one, look at its log and try again"
    )


def _mend_token(desk: Desk) -> str:
    if desk.local:
        return (
            "was it reset there? Assay uses the one it made, kept in label-studio/token of its "
            "home (LABEL_STUDIO_API_KEY is for other servers)"
        )
    return (
        "set LABEL_STUDIO_API_KEY to a valid access token of an account there, and if it is a "
        "legacy token, see that the organisation allows those"
    )


class _Token(httpx.Auth):
    """A legacy token is sent as it is. A personal one (a JWT) is changed for an access token that
    lives for minutes, and again when that is over."""

    requires_response_body = True

    def __init__(self, token: str) -> None:
        self.token = token
        self.header = "" if token.count(".") == 2 else f"Token {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.header:
            request.headers["Authorization"] = self.header
            response = yield request
            if response.status_code != 401 or self.header.startswith("Token"):
                return
        url = request.url.copy_with(path="/api/token/refresh", query=None)
        answer = yield httpx.Request("POST", url, json={"refresh": self.token})
        if answer.is_success:
            self.header = f"Bearer {answer.json()['access']}"
            request.headers["Authorization"] = self.header
        yield request
