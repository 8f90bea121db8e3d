"""What a file is, by its content: names lie, and some contents must never be opened."""

from __future__ import annotations

import codecs
import glob
import gzip
import pickletools
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal

from placevec.errors import FormatError, UsageError

Form = Literal["csv", "parquet", "lance", "raster"]

_HEAD = 8192
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# Beyond this size a text is not looked at as a whole for a pickle of protocol 0.
_PICKLE_TEXT = 16 << 20
_OTHERS = {
    b"\x93NUMPY": "a NumPy array without places: put it into a CSV or Parquet with ids and coordinates",
    b"\x89HDF": "HDF5, which is not read: write it as Parquet first",
    b"CDF": "NetCDF, which is not read: write it as Parquet first",
    b"ARROW1": "an Arrow file: write it with pyarrow.parquet.write_table first",
    b"SQLite format 3": "a SQLite database or GeoPackage, which is not read: write it as GeoParquet first",
    b"fgb": "FlatGeobuf, which is not read: write it as GeoParquet first",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def expand(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """The files that `paths` name, wildcards expanded and in order of their names.

    Raises UsageError for a pattern without a file, for no path, and for a file that is named twice.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: list[str] = []
    for item in map(str, given):
        if "://" not in item and not Path(item).exists() and glob.has_magic(item):
            matches = sorted(glob.glob(item, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            if not matches:
                raise UsageError(f"no file fits the pattern {item!r}: check the folder and the ending")
            found.extend(matches)
        else:
            found.append(item)
    if not found:
        raise UsageError("no file to import is named: give at least one")
    seen: dict[str, str] = {}
    for path in found:
        key = path if "://" in path else str(Path(path).resolve())
        if key in seen:
            raise UsageError(
                f"{path} is named twice{'' if seen[key] == path else f' (once as {seen[key]})'}: name it once"
            )
        seen[key] = path
    return found


def form_of(path: str) -> Form:
    """What the file is; FormatError if it is missing, empty, a pickle, or of a form that is not read."""
    if "://" in path or path.startswith("/vsi"):
        return "raster"
    where = Path(path)
    if not where.exists():
        raise FormatError(f"{path}: no such file; check the path")
    if where.is_dir():
        if (where / "_versions").is_dir():
            return "lance"
        raise FormatError(
            f"{path}: this is a folder, but no Lance dataset; name the files in it, such as '{path}/*.csv'"
        )
    with where.open("rb") as handle:
        head = handle.read(_HEAD)
        if not head.strip():
            raise FormatError(f"{path}: the file is empty; make or fetch it again")
        # A Parquet file that was cut short is one as well: its reader says so better.
        if head.startswith(b"PAR1"):
            return "parquet"
        if head.startswith(_TIFF) or head.lstrip().startswith(b"<VRTDataset"):
            return "raster"
        _refuse_pickle(path, head, handle)
    if head.startswith(b"\x1f\x8b"):
        head = _unzipped(path)
        if head.startswith(b"PAR1"):
            raise FormatError(f"{path}: Parquet inside gzip cannot be read in part: unpack it first with gunzip")
        _refuse_binary_pickle(path, head)
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise FormatError(f"{path}: this is {what}")
    if head.lstrip()[:1] in (b"{", b"["):
        raise FormatError(f"{path}: this is JSON, which holds no table to import: write it as GeoParquet or CSV first")
    _check_text(path, head)
    return "csv"


def _unzipped(path: str) -> bytes:
    try:
        with gzip.open(path, "rb") as handle:
            head = handle.read(_HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: the gzip file is damaged ({error}); fetch it again") from None
    if not head.strip():
        raise FormatError(f"{path}: the file in the gzip file is empty; make or fetch it again")
    return head


def _check_text(path: str, head: bytes) -> None:
    try:
        # The head may end within a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD)
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise FormatError(f"{path}: neither CSV in UTF-8 nor Parquet nor a raster (begins {head[:8]!r})")


def _refuse_pickle(path: str, head: bytes, handle: BinaryIO) -> None:
    _refuse_binary_pickle(path, head)
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            names = []
        if any(name.endswith((".pkl", ".pickle")) for name in names):
            raise _pickle(path)
        kind = "a NumPy archive" if any(name.endswith(".npy") for name in names) else "a zip archive"
        raise FormatError(f"{path}: this is {kind}, which is not read: unpack it and name the tables in it")
    # Protocol 0 is text: a pickle is whatever its machine runs from the first byte to STOP at the last.
    size = handle.seek(0, 2)
    handle.seek(-1, 2)
    if handle.read(1) == b"." and size <= _PICKLE_TEXT:
        handle.seek(0)
        content = handle.read()
        try:
            if sum(1 for _ in pickletools.genops(content)) > 1:
                raise _pickle(path)
        except (ValueError, IndexError, UnicodeDecodeError):
            return


def _refuse_binary_pickle(path: str, head: bytes) -> None:
    # PROTO and its number, 2 to 5; up to 15 for protocols to come.
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] < 16:
        raise _pickle(path)


def _pickle(path: str) -> FormatError:
    return FormatError(
        f"{path}: this is a pickle, which can run any code and is never opened: write it as Parquet or CSV"
    )
