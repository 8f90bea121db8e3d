"""Named public datasets: where they are looked for, how they are fetched, and whether they are whole.

The order of look-up: the folder that the environment variable PLACEVEC_DATA names, the user's cache, then the network,
and that only with consent.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from placevec.errors import DataError, UsageError
from placevec.provenance import SourceRef
from placevec.sources import npm
from placevec.sources.datasets import DATASETS, DataFile, Dataset

_BY_NAME = {dataset.name: dataset for dataset in DATASETS}


def list_datasets() -> list[Dataset]:
    """All datasets of the catalogue, by name."""
    return [_BY_NAME[name] for name in sorted(_BY_NAME)]


def dataset(name: str) -> Dataset:
    """The dataset called `name`; UsageError, with the names that exist, if there is none."""
    if name not in _BY_NAME:
        raise UsageError(f"no dataset is called {name!r}; known: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name]


def source_refs(name: str) -> tuple[SourceRef, ...]:
    """What the provenance of a table made from the dataset shall say: address, hash, licence, attribution."""
    return dataset(name).source_refs()


def cache_folder() -> Path:
    """Where fetched files are kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("placevec", appauthor=False))


def data_folders() -> list[Path]:
    """Where files are looked for: the folder in PLACEVEC_DATA, where it is set, then the user's cache."""
    named = os.environ.get("PLACEVEC_DATA", "").strip()
    return ([Path(named).expanduser()] if named else []) + [cache_folder()]


def is_here(name: str) -> bool:
    """Whether all files of the dataset lie on this machine (they are not hashed)."""
    return all(_find(file.path) is not None for file in _all_files(dataset(name)))


def fetch(name: str, allow_network: bool = False) -> dict[str, Path]:
    """The files of a dataset, by their path within the dataset's folder: ``fetch("zion")["srtm.tif"]``.

    Every file is checked against its hash. With `allow_network`, what is missing is downloaded to the user's cache.

    Raises:
        UsageError: no dataset has this name.
        DataError: a file is missing and may not or cannot be fetched, or is damaged; the message says what to do.
    """
    wanted = dataset(name)
    found: dict[str, Path] = {}
    for file in _all_files(wanted):
        path = _find(file.path)
        if path is None:
            path = _download(wanted, file, allow_network)
        elif _sha256(path) != file.sha256:
            raise DataError(
                f"{path} is damaged: its SHA-256 is not that of the dataset {name!r}; delete it and get it again"
            )
        found[wanted.key(file)] = path
    return found


def dataset_file(text: str | Path) -> Path | None:
    """The file that ``dataset:NAME/FILE`` stands for; None for any other text.

    Raises:
        UsageError: there is no such dataset, or no such file in it.
        DataError: as `fetch`.
    """
    kind, colon, rest = str(text).partition(":")
    name, slash, file = rest.partition("/")
    if kind != "dataset" or not colon or not slash:
        return None
    files = fetch(name)
    if file not in files:
        raise UsageError(f"the dataset {name!r} has no file {file!r}; it has {', '.join(sorted(files))}")
    return files[file]


def verify(name: str | None = None) -> list[tuple[str, str]]:
    """Each file of a dataset, or of all, with "ok", "missing" or "damaged" (its hash is another)."""
    report = []
    for each in [dataset(name)] if name is not None else list_datasets():
        for file in _all_files(each):
            path = _find(file.path)
            if path is None:
                report.append((file.path, "missing"))
            else:
                report.append((file.path, "ok" if _sha256(path) == file.sha256 else "damaged"))
    return report


def _all_files(wanted: Dataset) -> Iterator[DataFile]:
    yield from wanted.files
    manifest = _find(wanted.manifest) if wanted.manifest else None
    if manifest is None:
        return
    for line in manifest.read_text(encoding="utf-8", errors="replace").splitlines():
        sha256, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")
        # A damaged manifest must not send us out of the folder.
        if name and ".." not in name.split("/") and not name.startswith("/"):
            yield DataFile(f"{wanted.folder}/images/{name}", sha256)


def _find(path: str) -> Path | None:
    for folder in data_folders():
        if (folder / path).is_file():
            return folder / path
    return None


def _download(wanted: Dataset, file: DataFile, allowed: bool) -> Path:
    here = f"put it at {file.path} in a folder and name that folder in PLACEVEC_DATA"
    if not file.url:
        raise DataError(
            f"the dataset {wanted.name!r} is not on this machine, and {file.path} has no public address of its own "
            f"(source: {wanted.source}); {here}"
        )
    if not allowed:
        raise DataError(
            f"the dataset {wanted.name!r} is not on this machine ({file.path} is missing); {here}, or download it "
            f"with `placevec data fetch {wanted.name}` (allow_network=True in Python)"
        )
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    goal = cache_folder() / file.path
    try:
        pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=goal.name, path=goal.parent)
    except ValueError:
        raise DataError(f"{file.url} does not hold the file that is expected (another SHA-256); {here}") from None
    except OSError as error:  # of requests' errors too
        if file.npm and npm.fetch(file.npm, file.sha256, goal):
            return goal
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(f"{file.url} cannot be fetched ({reason}); check the network, or {here}") from None
    return goal


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256_of(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
