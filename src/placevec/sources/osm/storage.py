"""What all readers of OpenStreetMap files share: the file checked, its errors told, positions of nodes kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from placevec.errors import FormatError, UsageError
from placevec.registry import need

Told = Callable[[str, int, int], None]
"""Progress: called with what is being done, how much of it is done, and how much there is (0: not known)."""

# Bytes of a file beyond which the positions of its nodes are kept on disk. They take 16 bytes a node, and a
# compressed file has a node for every 8 bytes or so: twice the size of the file.
IN_MEMORY = 512 << 20


def load_osmium() -> ModuleType:
    """The package osmium. Raises MissingExtra."""
    return need("osmium", extra="osm", purpose="reading OpenStreetMap")


def existing(path: str | Path) -> Path:
    """The path of a file that exists. Raises FormatError."""
    where = Path(path)
    if not where.is_file():
        raise FormatError(f"{path}: no such file; check the path")
    return where


@contextmanager
def node_storage(path: Path, on_disk: str | Path | None = None) -> Iterator[str]:
    """Where osmium keeps the positions of the nodes of a file, as osmium writes it.

    Args:
        path: the file that is read.
        on_disk: a folder in which they are kept for as long as the file is read; absent, they are kept in memory for
            files of up to 512 MiB, and in the folder for temporary files for larger ones.

    Raises:
        UsageError: the folder cannot be made, or osmium cannot be told of it.
    """
    if on_disk is None and path.stat().st_size <= IN_MEMORY:
        yield "flex_mem"
        return
    if on_disk is not None:
        try:
            Path(on_disk).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{on_disk}: positions of nodes cannot be kept there ({error.strerror})") from None
    with TemporaryDirectory(prefix="placevec-osm-", dir=on_disk) as scratch:
        if "," in scratch:
            raise UsageError(f"{scratch}: positions of nodes cannot be kept in a folder with a comma in its name")
        yield f"sparse_file_array,{scratch}/nodes"


def stream(path: str | Path, objects: Iterable[Any]) -> Iterator[Any]:
    """The objects of a file, osmium's own errors told as ours.

    Raises:
        FormatError: the file is no OpenStreetMap file, or ends early.
    """
    with as_ours(path):
        yield from objects


@contextmanager
def as_ours(path: str | Path) -> Iterator[None]:
    """Osmium's own errors, told as ours. Raises FormatError."""
    try:
        yield
    # Osmium says no more than this. Of a coordinate that is none ("", "nan") its error is an Exception and no more.
    except (RuntimeError, ValueError, load_osmium().InvalidLocationError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise FormatError(f"{path}: no OpenStreetMap data can be read ({reason}); fetch it again") from error
