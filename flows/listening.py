"""The webhook receiver: a hint from the desk that makes the next pull come sooner.

Label Studio waits one second for an answer, signs nothing and tries only once. So the receiver
checks a secret, answers at once and reads nothing of what was sent: all it ever does is to emit a
Prefect event, on which the deployment of `review-pull` runs. The scheduled pull stays the
authority: a webhook that is lost, forged or repeated changes when answers come in, never which.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response

from schemas.errors import AssayError

EVENT = "assay.review.annotated"
RESOURCE = {"prefect.resource.id": "assay.review"}
HEADER = "X-Assay-Secret"
PATH = "/annotated"
PAUSE = 15.0  # seconds between two events: people annotate faster than anybody needs to pull
SHORTEST = 16


class SecretMissing(AssayError):
    """The receiver has no secret to check, or one that can be guessed."""


def listen_for_changes(port: int, secret: str, tell: Callable[[str], None]) -> None:
    """Serve on loopback until stopped.

    Raises:
        SecretMissing: `secret` has fewer than 16 characters.
    """
    import uvicorn

    if len(secret) < SHORTEST:
        raise SecretMissing(
            f"set ASSAY_REVIEW_SECRET to {SHORTEST} random characters or more (openssl rand -hex "
            "16), and let the webhook send them"
        )
    tell(
        f"in Label Studio, add a webhook (Settings, Webhooks) to http://127.0.0.1:{port}{PATH} "
        f"with the header {HEADER}, without payload, for annotations created, updated and deleted"
    )
    uvicorn.run(make_listener(secret, emit_hint), host="127.0.0.1", port=port, log_level="warning")


def make_listener(secret: str, emit: Callable[[], None], pause: float = PAUSE) -> FastAPI:
    """The receiver: `emit` is called soon after a notice with the secret, and once for all that
    come within `pause` seconds of it."""
    noticed = asyncio.Event()

    async def pass_on() -> None:
        while True:
            await noticed.wait()
            noticed.clear()
            with suppress(Exception):  # the scheduled pull comes in any case
                await asyncio.to_thread(emit)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def live(_app: FastAPI) -> AsyncIterator[None]:
        passing = asyncio.create_task(pass_on())
        yield
        passing.cancel()

    app = FastAPI(lifespan=live, openapi_url=None)

    @app.post(PATH)
    async def annotated(request: Request) -> Response:
        given = request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            return Response(status_code=403)
        noticed.set()
        return Response(status_code=204)

    return app


def emit_hint() -> None:
    """Tell Prefect that something changed at the desk."""
    from prefect.events import emit_event

    emit_event(event=EVENT, resource=RESOURCE)
