"""RSICD as Kaggle has it: train.csv, valid.csv and test.csv with lists of captions as text, and images by split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from placevec.sources.captions.base import canonical_split
from placevec.sources.captions.entries import Entry
from placevec.sources.captions.tabular import read_csv

_NAMES = ("train", "val", "valid", "validation", "test")


def tables(folder: Path) -> dict[str, Path]:
    """The tables of a folder by split, none if it is no such folder; of val.csv and valid.csv the first counts."""
    found: dict[str, Path] = {}
    for name in _NAMES:
        path = folder / f"{name}.csv"
        if path.is_file():
            found.setdefault(canonical_split(name), path)
    return found


def read_folder(folder: Path) -> tuple[list[Entry], Counter[str]]:
    """The entries of all its tables, and what was left out, by reason; see `tabular.read_csv`."""
    entries: list[Entry] = []
    counts: Counter[str] = Counter()
    for split, path in tables(folder).items():
        own, left = read_csv(path, split)
        entries += own
        counts += left
    return entries, counts
