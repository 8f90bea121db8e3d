"""Models of the transformers library on this machine: their folders, their digests, and the modules themselves."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from placevec.errors import CheckpointError
from placevec.provenance import sha256_file
from placevec.registry import need

T = TypeVar("T")

# The files that hold the tokens of a tokenizer, by its kind.
_TOKENS = ["tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "*.model"]
# What is fetched of a model of the hub: settings, weights that are no pickle, and the files of tokenizers.
_FILES = ["*.json", "model*.safetensors", *_TOKENS]


@dataclass(frozen=True)
class Opened:
    """A model as it was found.

    Attributes:
        name: as it was asked for, without ``hf:``.
        folder: with its files.
        identity: what its Space is named after: ``name@revision``, or folder and hash for a folder.
        sha256: of the weights.
        model: the module, in float32 and ready to answer.
        missing: names of the weights that the folder lacks, which transformers has made up.
    """

    name: str
    folder: Path
    identity: str
    sha256: str
    model: Any
    missing: frozenset[str]

    def check_complete(self, but: str = "") -> None:
        """CheckpointError where weights are missing; names with `but` in them do not count.

        What a checkpoint lacks is completed by random numbers: no error of transformers, and vectors of noise.
        """
        kept = (key for key in self.missing if not key.endswith("position_ids") and not (but and but in key))
        for key in sorted(kept):
            raise CheckpointError(f"the model {self.name} lacks the weights {key!r}: the folder is not complete")


def open_model(name: str, revision: str | None = None, *, allow_download: bool = False) -> Opened:
    """The model called `name`: a folder that `save_pretrained` wrote, or a name of the hub.

    Raises:
        CheckpointError: it is not on this machine, is damaged, or has no safetensors weights.
    """
    transformers = _transformers()
    name = name.removeprefix("hf:")
    folder, label = _folder(name, revision, allow_download)
    sha256 = digest(folder)

    def load() -> tuple[Any, dict[str, Any]]:
        model, info = transformers.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype="float32",  # half precision is stored, not computed with: processors differ in how they round it
        )
        return model, info

    model, info = loaded(load, folder, "a model")
    missing = frozenset(str(key) for key in info["missing_keys"])
    identity = label or f"{folder.resolve().name}@{sha256[:16]}"
    return Opened(name, folder, identity, sha256, model.eval(), missing)


def open_image_processor(folder: Path) -> Any:
    """The image processor of a model's folder; CheckpointError where there is none that can be loaded."""
    transformers = _transformers()
    return loaded(
        lambda: transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True),
        folder,
        "a vision model",
    )


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder; CheckpointError where there is none that can be loaded."""
    transformers = _transformers()
    if not any(found for pattern in _TOKENS for found in folder.glob(pattern)):
        # transformers makes one of three tokens then, and the texts are noise.
        raise CheckpointError(
            f"{folder} has no tokenizer: add its files (tokenizer.json, or vocab.json and merges.txt)"
        )
    kinds = [transformers.AutoTokenizer]
    if (folder / "tokenizer.json").is_file():
        # A class that needs an absent package (sentencepiece, for SigLIP) gives way to the same tokens by this file.
        kinds.append(transformers.PreTrainedTokenizerFast)
    for kind in kinds[:-1]:
        with contextlib.suppress(CheckpointError):
            return _tokenizer(kind, folder)
    return _tokenizer(kinds[-1], folder)


def _tokenizer(kind: Any, folder: Path) -> Any:
    return loaded(lambda: kind.from_pretrained(folder, local_files_only=True), folder, "a tokenizer")


def digest(folder: Path) -> str:
    """sha256 of the weights in a model's folder; CheckpointError where there are none that can be read safely."""
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise CheckpointError(f"{folder} has no model.safetensors: convert the model, pickled weights are not read")
    if len(weights) == 1:
        return sha256_file(weights[0])
    return hashlib.sha256("".join(sha256_file(path) for path in weights).encode()).hexdigest()


def loaded(load: Callable[[], T], folder: Path, what: str) -> T:
    """What `load` gives, or CheckpointError saying that `folder` cannot be loaded as `what`, in one line."""
    try:
        with quiet():
            return load()
    except Exception as error:
        # transformers raises OSError, ValueError, KeyError, RuntimeError and safetensors' own for a bad folder.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder} cannot be loaded as {what} of transformers: {reason}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and reports; missing weights are looked at by us."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def model_folder(name: str, revision: str | None = None) -> Path:
    """The folder with the files of a model that is on this machine; CheckpointError if it is not."""
    return _folder(name.removeprefix("hf:"), revision, False)[0]


def _transformers() -> Any:
    return need("transformers", extra="torch", purpose="hf: encoders")


def _folder(name: str, revision: str | None, allow_download: bool) -> tuple[Path, str]:
    """The folder with the model's files, and name@revision for a model of the hub."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local, ""
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{name} is not a folder: give one that save_pretrained wrote, or a name of the hub")
    hub = need("huggingface_hub", extra="torch", purpose="models of the hub")
    try:
        found = hub.snapshot_download(
            name, revision=revision, allow_patterns=_FILES, local_files_only=not allow_download
        )
    except Exception as error:
        # Each reason (no such model, no network, no consent) has another class, and several bases.
        fetch = f"fetch it with `hf download {name}`, or give a local folder"
        step = "check the name and the network" if allow_download else fetch
        raise CheckpointError(f"the model {name!r} is not on this machine ({type(error).__name__}): {step}") from error
    return Path(found), f"{name}@{Path(found).name}"
