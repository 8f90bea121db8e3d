"""Captions by whatever names them: a file, a folder, or a named dataset."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from placevec.errors import FormatError, UsageError
from placevec.provenance import SourceRef
from placevec.sources import catalog
from placevec.sources.captions import kaggle
from placevec.sources.captions.base import CaptionSet
from placevec.sources.captions.entries import Entry, finder, gathered
from placevec.sources.captions.karpathy import read_json, read_jsonl
from placevec.sources.captions.tabular import read_csv

_FILE = "captions.json"  # how datasets, and the generated country, call theirs
_READERS = {".json": read_json, ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv, ".tsv": read_csv}


def read_captions(where: str | Path, *, images: str | Path | None = None) -> CaptionSet:
    """Images with their captions.

    What cannot be used (empty captions, images without a caption, without a file, or named twice) is left out and
    counted in the `notes` of the answer.

    Args:
        where: a JSON in the Karpathy form or a list of such objects, a CSV, JSON lines; a folder with train.csv,
            val.csv or valid.csv, and test.csv, or with one captions.json; or ``dataset:ucm``.
        images: the folder of the images; by default ``images/`` beside the file, the file's own folder, or another
            folder beside it that holds them. See `entries.Finder`.

    Raises:
        UsageError: there is no such file, folder or dataset.
        FormatError: the file is not what its ending says.
        SchemaError: a table lacks a column.
        DataError: no image with a caption and a file is left.
    """
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{images} is no folder; give the folder of the images")
    kind, colon, name = str(where).partition(":")
    if colon and kind == "dataset":
        return _dataset(name, folder)
    path = Path(where)
    if not path.exists():
        raise UsageError(f"{where} does not exist; give a file or folder of captions, or dataset:ucm")
    if path.is_dir() and kaggle.tables(path):
        entries, counts = kaggle.read_folder(path)
        refs = tuple(SourceRef(href=f"{path.name}/{table.name}") for table in kaggle.tables(path).values())
        return gathered(str(where), entries, finder(path, folder, entries), counts, refs)
    if path.is_dir():
        if not (path / _FILE).is_file():
            raise UsageError(f"{where} holds neither train.csv or test.csv nor {_FILE}; name the file of the captions")
        path /= _FILE
    entries, counts = _read(path)
    return gathered(str(where), entries, finder(path.parent, folder, entries), counts, (SourceRef(href=path.name),))


def _read(path: Path) -> tuple[list[Entry], Counter[str]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: captions are read from files that end in {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise FormatError(f"{path}: the file is empty; fetch it again")
    return reader(path)


def _dataset(name: str, images: Path | None) -> CaptionSet:
    known = sorted(each.name for each in catalog.list_datasets() if _has_captions(each.name))
    if not _has_captions(name):
        raise UsageError(f"the dataset {name!r} has no captions; those that have: {', '.join(known)}")
    found = catalog.fetch(name)
    path = found[_FILE]
    entries, counts = _read(path)
    # Files may stand in several folders of data: the images need not be beside the captions.
    folders = {file.parent for key, file in found.items() if key.startswith("images/")}
    where = images if images is not None else min(folders, default=None)
    return gathered(f"dataset:{name}", entries, finder(path.parent, where, entries), counts, catalog.source_refs(name))


def _has_captions(name: str) -> bool:
    return any(file.path.endswith(f"/{_FILE}") for file in catalog.dataset(name).files)
