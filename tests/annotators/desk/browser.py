"""Real people at a real desk: accounts of Label Studio, and headless Chromium in their hands."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.services import Service

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SIZE = {"width": 1280, "height": 800}


@dataclass(frozen=True)
class Account:
    """Somebody who can sign in. `token` opens the API as them, `user_id` is the desk's."""

    email: str
    password: str
    token: str
    user_id: int


@dataclass
class Sitting:
    """An annotator at a page. `requests` are all addresses that the browser asked for, `trouble`
    the dialogs it opened and the scripts of it that broke."""

    page: Any
    requests: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def open_project(self, project_id: int) -> None:
        """The next task of a project, as an annotator gets it."""
        self.page.goto(f"/projects/{project_id}/data?labeling=1")
        self.wait_for_task()

    def wait_for_task(self) -> None:
        self.page.get_by_text("What did you use?").wait_for()

    def wait_for_next(self, review_id: str) -> None:
        """Until the desk, after an answer, shows the task of that review."""
        self.page.wait_for_function(
            "id => window.Htx?.task?.dataObj?.review_id === id", arg=review_id
        )
        self.wait_for_task()

    def submit(self, *, by_keyboard: bool = False) -> None:
        """Send the answer and wait until the desk has taken it."""
        with self.page.expect_response(
            lambda r: r.request.method == "POST" and "/annotations" in r.url
        ) as sent:
            if by_keyboard:
                self.page.keyboard.press("Control+Enter")
            else:
                self.page.get_by_test_id("bottombar-submit-button").click()
        assert sent.value.status == 201, sent.value.text()

    def check_calm(self, home: str) -> None:
        """Nothing broke or popped up, and no request left for another place than `home`."""
        assert self.trouble == []
        others = {u for u in self.requests if not u.startswith((home, "data:", "blob:"))}
        assert others == set(), "a request left for another place"

    def shot(self, file: Path) -> None:
        self.page.mouse.move(5, 400)
        self.page.screenshot(path=file)


def make_account(service: Service, name: str) -> Account:
    """Sign somebody up by the link that invites people to the desk."""
    email, password = f"{name}-{uuid.uuid4().hex[:8]}@localhost.local", uuid.uuid4().hex
    owner = {"Authorization": f"Token {service.token}"}
    invite = httpx.get(f"{service.url}/api/invite", headers=owner).raise_for_status().json()
    with httpx.Client(base_url=service.url, timeout=60, follow_redirects=True) as client:
        client.get(invite["invite_url"]).raise_for_status()
        form = {
            "email": email, "password": password,
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
        }  # fmt: skip
        client.post(invite["invite_url"], data=form).raise_for_status()
        token = client.get("/api/current-user/token").raise_for_status().json()["token"]
        user_id = client.get("/api/current-user/whoami").raise_for_status().json()["id"]
    return Account(email, password, token, user_id)


def find_chromium() -> str:
    """Debian's Chromium; tests that need it skip where there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no `chromium` on the PATH: apt-get install chromium")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium."""
    executable = find_chromium()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


def sign_in(browser: Any, service: Service, account: Account) -> Sitting:
    """Sign an account in, in a window of its own."""
    context = browser.new_context(base_url=service.url, viewport=SIZE)
    context.set_default_timeout(60_000)
    sitting = Sitting(context.new_page())
    context.on("request", lambda request: sitting.requests.append(request.url))
    sitting.page.on("dialog", lambda d: (sitting.trouble.append(d.message), d.dismiss()))
    sitting.page.on("pageerror", lambda error: sitting.trouble.append(str(error)))
    sitting.page.goto("/user/login")
    sitting.page.fill("input[name=email]", account.email)
    sitting.page.fill("input[name=password]", account.password)
    sitting.page.keyboard.press("Enter")
    sitting.page.wait_for_url(lambda url: "/user/login" not in url)
    return sitting


def flatten(text: str) -> str:
    """One space for any white space; without the marks that keep a dollar from being a variable."""
    return re.sub(r"\s+", " ", text.replace("\u2060", "")).strip()
