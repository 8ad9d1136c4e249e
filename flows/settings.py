"""How Assay sets up Prefect: quiet, local and quick to start, unless the environment says else."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

PREFECT_VERSION = "3.8.8"


def prepare_prefect() -> None:
    """Set Prefect's environment. Call before the first import of prefect.

    PREFECT_API_URL is kept where it is set; else a server that `assay up prefect` started is used.
    """
    from engines.assets import assay_home
    from engines.services import find_service

    settings = {
        "PREFECT_HOME": str(assay_home() / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    server = find_service("prefect")
    if server and server.owner == "up":
        settings["PREFECT_API_URL"] = f"{server.url}/api"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def load_ahead() -> None:
    """Import what the last stages of a run need: free while another process is being waited for."""
    for name in ("pyarrow.dataset", "datasets", "matplotlib.backends.backend_svg"):
        importlib.import_module(name)


@contextmanager
def borrow_server() -> Iterator[Callable[[], str]]:
    """A Prefect server for this process: the one that is configured or runs, else one of its own.

    A server takes some seconds to start, so it starts in a thread while the caller loads what it
    needs; what is yielded waits for it and gives its API's address. (Prefect's built-in ephemeral
    server would load the whole server into this process first, and run its migrations each time.)
    """
    from engines.services import release_services, start_service

    if "PREFECT_API_URL" in os.environ:
        yield lambda: os.environ["PREFECT_API_URL"]
        return
    home = Path(os.environ["PREFECT_HOME"])
    initialised = home / f".assay-{PREFECT_VERSION}"
    migrate = not (initialised.exists() and (home / "prefect.db").exists())
    os.environ.setdefault("PREFECT_SERVER_DATABASE_MIGRATE_ON_START", str(migrate).lower())
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(start_service, "prefect", owner="run")

        def use() -> str:
            url = f"{started.result().url}/api"
            initialised.touch()
            return url

        try:
            yield use
        finally:
            started.exception()
            release_services()
