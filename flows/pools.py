"""A pool of files cleaned as a Prefect flow, its parts sketched on a Ray cluster.

A task is a part, never a row, and only names travel: workers write sketches where everybody can
read them (a shared file system under one path), and this process, the only one that writes
decisions, reads them together. Workers must reach the Prefect server (PREFECT_API_URL).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.futures import as_completed
from prefect_ray import RayTaskRunner

from flows.console import Console
from pipelines.clean.bulk.clean import clean_pool
from pipelines.clean.bulk.planning import make_plan
from pipelines.clean.bulk.pool import PoolPart
from pipelines.clean.bulk.sketch import Plan, sketch_part
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.mixing import MixSpec

LOCAL = "local"


def clean_on_ray(
    address: str,
    pool: Path,
    out: Path,
    wanted: dict[str, Any],
    *,
    mix: MixSpec | None,
    seed: int,
    kept: bool,
    lake: str | None,
) -> dict[str, Any]:
    """Clean a pool (see `pipelines.clean.bulk.clean.clean_pool`) with its parts sketched on Ray.

    Args:
        address: of the cluster; `local` starts one on this machine's cores, which ends with the
            work.
        wanted: the arguments of `make_plan`, JSON.
        lake: where this process registers what is decided; None for nowhere.

    Returns:
        The summary as `--json` prints it.
    """
    console = Console()

    @flow(name="clean-pool", task_runner=_make_runner(address), persist_result=False)
    def clean() -> dict[str, Any]:
        run = new_run(tell=console.tell, progress=console.progress)
        sketch = _sketch_with(json.dumps(wanted, sort_keys=True))
        plan = make_plan(**wanted)
        with open_lake(lake) if lake else nullcontext() as opened:
            return clean_pool(
                pool, out, plan, run, mix=mix, seed=seed, kept=kept, sketch=sketch, lake=opened
            ).to_json()

    return clean()


def _make_runner(address: str) -> RayTaskRunner[Any]:
    if address != LOCAL:
        return RayTaskRunner(address=address, init_kwargs={"log_to_driver": False})
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    settings = {
        "include_dashboard": False,
        "log_to_driver": False,
        "_node_ip_address": "127.0.0.1",
        "runtime_env": {"env_vars": paths},
    }
    return RayTaskRunner(init_kwargs=settings)


def _sketch_with(wanted: str) -> Any:
    def sketch(parts: Sequence[PoolPart], _: Plan, state: Path) -> Iterator[int]:
        assert FlowRunContext.get() is not None, "tasks are of a flow"
        work = [sketch_one.submit(part, wanted, str(state.absolute())) for part in parts]
        for future in as_completed(work):
            yield future.result()

    return sketch


@task(name="sketch", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False)
def sketch_one(part: PoolPart, wanted: str, state: str) -> int:
    """Sketch one part on one core; the rows it has."""
    return sketch_part(part, _make_plan_once(wanted), Path(state), threads=1).part.rows


@lru_cache(maxsize=2)
def _make_plan_once(wanted: str) -> Plan:
    return make_plan(**json.loads(wanted))
