"""From what a file says of images to a set: files found, captions cleaned, what is left out counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from placevec.errors import DataError
from placevec.provenance import SourceRef
from placevec.sources.captions.base import CaptionSet, as_objects, canonical_split

_PROBED = 20  # names by which folders of images are told from others
_SHOWN = 80  # characters of a name in a message: some tables hold the images where others name them
_ALIASES = {"val": ("val", "valid", "validation"), "train": ("train",), "test": ("test",)}


@dataclass(frozen=True)
class Entry:
    """What a file says of an image, unchecked; an image may have several."""

    name: str  # the image's file as it is written there; "" where it says none
    captions: Sequence[Any]
    split: str = ""
    label: str | None = None
    lonlat: tuple[float, float] | None = None


class Finder:
    """Finds the files of images below some folders.

    A name is looked for as it stands, then without its first folders, one after the other: sets name their images by
    folders of the machine that they were made on. In each folder the folder of the image's split comes first
    (``images/test/``). An absolute path, or one that climbs by ``..``, is taken as it stands where it exists.

    Args:
        home: the folder of the file that names the images.
        folders: where they are looked for.
    """

    def __init__(self, home: Path, folders: Sequence[Path]) -> None:
        self.home = home
        self.folders = tuple(folders)
        self._split_folders: dict[tuple[Path, str], list[Path]] = {}

    def find(self, name: str, split: str) -> tuple[str, Path] | None:
        """The id of an image (its path below the folder of images) and its file, None if there is none."""
        pure = PurePosixPath(name.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts:
            there = self.home / pure
            if _is_file(there):
                return str(pure), there
        parts = [part for part in pure.parts if part not in ("/", "..", ".")]
        for first in range(len(parts)):
            tail = PurePosixPath(*parts[first:])
            for folder in self.folders:
                for place in (*self._of_split(folder, split), folder):
                    if _is_file(place / tail):
                        return self._name(place / tail), place / tail
        return None

    def _name(self, file: Path) -> str:
        # One file has one name, whichever of the folders the set names it from: the shortest.
        below = (folder for folder in self.folders if file.is_relative_to(folder))
        return min((file.relative_to(folder).as_posix() for folder in below), key=len)

    def _of_split(self, folder: Path, split: str) -> list[Path]:
        known = self._split_folders.get((folder, split))
        if known is None:
            names = _ALIASES.get(split, (split,)) if split else ()
            known = [folder / name for name in names if (folder / name).is_dir()]
            self._split_folders[folder, split] = known
        return known


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than names can be
        return False


def finder(home: Path, images: Path | None, entries: Sequence[Entry]) -> Finder:
    """The Finder for the images of a file in the folder `home`.

    Without `images` they are looked for in ``images/`` beside the file, beside it, and in those folders beside it that
    hold one of the first of them.
    """
    if images is not None:
        return Finder(home, [images])
    named = [folder for folder in (home / "images", home) if folder.is_dir()]
    beside = sorted(each for each in home.iterdir() if each.is_dir() and not each.name.startswith("."))
    others = [each for each in beside if each not in named]
    first = entries[:_PROBED]
    found = [folder for folder in others if any(Finder(home, [folder]).find(each.name, each.split) for each in first)]
    return Finder(home, [*named, *found])


def gathered(
    where: str, entries: Iterable[Entry], finder: Finder, counts: Counter[str], refs: Sequence[SourceRef] = ()
) -> CaptionSet:
    """The set of all images that have a file and a caption.

    Args:
        where: what was read, for messages.
        entries: in the order of the file; entries of one name are joined.
        finder: finds the files.
        counts: what readers have left out, by reason.
        refs: for provenance.

    Raises:
        DataError: nothing is left.
    """
    left = Counter(counts)
    found: list[_Image] = []
    absent: list[str] = []
    for image in _joined(entries, left):
        if not image.captions:
            left["images without a caption"] += 1
            continue
        at = finder.find(image.name, image.split)
        if at is None:
            absent.append(image.name)
        else:
            image.id, image.file = at
            found.append(image)
    folders = " or ".join(map(str, finder.folders)) or "no folder"
    if absent:
        shown = absent[0] if len(absent[0]) <= _SHOWN else f"{absent[0][:_SHOWN]}..."
        left[f"images whose file is absent (the first is {shown!r}, looked for in {folders})"] = len(absent)
    kept = _first_of_each(found, left)
    if not kept:
        why = "; ".join(_told(left)) or "it is empty"
        raise DataError(f"{where}: no image with a caption and a file is left ({why}); give the folder of the images")
    seen = Counter(image.id for image in kept)
    labels = as_objects([image.label for image in kept])
    points = np.array([image.lonlat or (np.nan, np.nan) for image in kept], dtype=np.float64)
    return CaptionSet(
        # The whole path where two folders have a file of one name.
        ids=as_objects([image.id if seen[image.id] == 1 else str(image.file) for image in kept]),
        files=as_objects([image.file for image in kept]),
        captions=tuple(tuple(image.captions) for image in kept),
        splits=as_objects([image.split for image in kept]),
        labels=None if all(label is None for label in labels) else labels,
        lonlat=None if np.isnan(points).all() else points,
        notes=tuple(f"left out: {note}" for note in _told(left)),
        refs=tuple(refs),
    )


@dataclass
class _Image:
    name: str
    split: str
    label: str | None = None
    lonlat: tuple[float, float] | None = None
    captions: list[str] = field(default_factory=list)
    id: str = ""
    file: Path = Path()


def _joined(entries: Iterable[Entry], left: Counter[str]) -> Iterable[_Image]:
    """The images by name and split: two splits may have files of one name in folders of their own."""
    joined: dict[tuple[str, str], _Image] = {}
    for entry in entries:
        if not entry.name:
            left["entries without the name of a file"] += 1
            continue
        split = canonical_split(_clean(entry.split) or "")
        own = joined.setdefault((entry.name, split), _Image(entry.name, split))
        own.label, own.lonlat = own.label or _clean(entry.label) or None, own.lonlat or entry.lonlat
        for caption in entry.captions:
            text = _clean(caption)
            if text:
                own.captions.append(text)
            else:
                left["empty captions" if text == "" else "captions that are no text"] += 1
    return joined.values()


def _clean(caption: Any) -> str | None:
    """A text on one line, "" where it is empty, None where it is no text."""
    if caption is None:
        return ""
    if not isinstance(caption, str):
        return None
    try:
        caption.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return None
    return " ".join(caption.split())


def _first_of_each(images: Iterable[_Image], left: Counter[str]) -> list[_Image]:
    """The first image of each file: to keep one in two splits would be to train on what is tested."""
    first: dict[Path, _Image] = {}
    for image in images:
        before = first.setdefault(image.file, image)
        if before.split != image.split:
            left["images that stand in another split already"] += 1
        elif before is not image:
            left["images whose file is that of another image"] += 1
    return list(first.values())


def _told(left: Counter[str]) -> list[str]:
    return [f"{count:,} {what}" for what, count in left.items() if count]
