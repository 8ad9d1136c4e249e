"""Parts of a pool sketched on a Ray cluster: workers write sketches, nobody but the caller reads
them together.

The pool and the output folder must be where every worker sees them under one path (a shared file
system); a worker walks one part at a time on one core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.clean.bulk.pool import PoolPart
from pipelines.clean.bulk.sketch import Plan, sketch_part
from schemas.errors import AssayError

LOCAL = "local"


class RayMissing(AssayError):
    """Ray is not installed, or there is no cluster at this address."""


def sketch_on_ray(address: str) -> Any:
    """A sketcher for `clean.clean_pool` that uses the cluster at `address`; `local` starts one of
    this machine's cores, which ends with the work.

    Raises:
        RayMissing: when it is called: ray is not installed, or nobody answers at the address.
    """

    def sketch(parts: Sequence[PoolPart], plan: Plan, state: Path) -> Iterator[int]:
        if not parts:
            return
        ray = _connect(address)
        try:
            held = ray.put(plan)
            work = ray.remote(num_cpus=1, max_retries=3)(_sketch_one)
            waiting = [work.remote(part, held, str(state.absolute())) for part in parts]
            while waiting:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
        finally:
            if address == LOCAL:
                ray.shutdown()

    return sketch


def _sketch_one(part: PoolPart, plan: Plan, state: str) -> int:
    return sketch_part(part, plan, Path(state), threads=1).part.rows


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise RayMissing("ray is not installed: pip install 'assay[ray]'") from error
    try:
        if not ray.is_initialized():
            ray.init(
                address=None if address == LOCAL else address,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                _node_ip_address="127.0.0.1" if address == LOCAL else None,
            )
    except ConnectionError as error:
        raise RayMissing(f"no Ray cluster at {address}: {error}") from error
    return ray
