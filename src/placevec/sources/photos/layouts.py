"""Metadata of public collections of photos, in the layouts in which they are published, by name."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import numpy as np

from placevec.errors import FormatError, SchemaError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.images import SUFFIXES
from placevec.sources.photos.found import Found, degrees, objects
from placevec.sources.photos.tabular import RAGGED, Columns, listed, read_csv, table_columns
from placevec.table import Skipped

VIDEO = "a video, not a photo"
NO_LANDMARK = "no coordinates: its landmark is not in the landmark file"

# Of a line of yfcc100m_dataset; the release of 23 columns lacks the line's number and the photo's hash.
_YFCC = (
    *("line", "id", "hash", "user", "author", "taken", "uploaded", "device", "title", "description", "tags"),
    *("machine_tags", "lon", "lat", "accuracy", "page", "download", "licence", "licence_url", "server", "farm"),
    *("secret", "secret_original", "extension", "video"),
)
_YFCC_SHORT = tuple(name for name in _YFCC if name not in ("line", "hash"))
_YFCC_KEPT = ("user", "author", "taken", "title", "tags", "licence", "page")
_PERCENT = ("author", "title", "tags")  # percent-encoded, with + for a space


def flickr(path: Path, images: Path | None, landmarks: Path | None, columns: Columns) -> Found:
    """Lines of the YFCC100M dataset: 25 columns parted by tabs, or the 23 of its first release, without a header.

    The image of a photo is ``ID.EXT`` in the folder of images, or ``abc/def/HASH.EXT`` as the collection stores it.
    Kept are the photographer's account (`user`, what groups a day's photos), `author`, `title`, `tags`, `taken`,
    `licence`, `page` and `accuracy` (Flickr's, 1 the world to 16 the street).
    """
    _unused(landmarks, "flickr")
    home = path.absolute().parent if images is None else images.absolute()
    lost: list[Skipped] = []
    rows: list[dict[str, str]] = []
    for number, cells in enumerate(_tabs(path), 1):
        names = {len(_YFCC): _YFCC, len(_YFCC_SHORT): _YFCC_SHORT}.get(len(cells))
        if names is None:
            lost.append(Skipped(f"{path.stem}-line-{number}", "list", RAGGED))
            continue
        row = dict(zip(names, cells, strict=True))
        if row["video"].strip() == "1":
            lost.append(Skipped(row["id"], "list", VIDEO))
            continue
        rows.append(row | {name: unquote_plus(row[name]) for name in _PERCENT})
    if not rows and lost and all(one.reason == RAGGED for one in lost):
        raise FormatError(f"{path}: its lines have neither {len(_YFCC)} nor {len(_YFCC_SHORT)} columns parted by tabs")
    lonlat, without = degrees(objects(row["lon"] for row in rows), objects(row["lat"] for row in rows))
    attributes: dict[str, Any] = {name: objects(row[name] or None for row in rows) for name in _YFCC_KEPT}
    attributes["accuracy"] = np.array([_number(row["accuracy"]) for row in rows])
    return Found(
        where=str(path),
        ids=objects(row["id"] for row in rows),
        assets=objects(str(_yfcc_file(home, row)) for row in rows),
        lonlat=lonlat,
        without=without,
        attributes=attributes,
        refs=(SourceRef(href=path.name),),
        lost=tuple(lost),
    )


def gldv2(path: Path, images: Path | None, landmarks: Path | None, columns: Columns) -> Found:
    """Google Landmarks v2: ``train.csv`` (id, url, landmark_id), images as ``a/b/c/abcdef.jpg``.

    The collection has no coordinates: they come from a CSV of landmarks with `landmark_id` and the columns of longitude
    and latitude. All photos of a landmark have its coordinates, and so share a `place`.
    """
    if landmarks is None:
        raise UsageError(
            f"{path}: Google Landmarks v2 has no coordinates; give a CSV of landmark_id, {columns.lon} and "
            f"{columns.lat} with --landmarks"
        )
    data, lost = read_csv(path, texts=("id", "landmark_id"))
    found = table_columns(data, path)
    _needed(path, found, ("id", "landmark_id"))
    table, bad = read_csv(landmarks, texts=("landmark_id", columns.lon, columns.lat))
    points = table_columns(table, landmarks)
    _needed(landmarks, points, ("landmark_id", columns.lon, columns.lat))
    at = {name: row for row, name in enumerate(points["landmark_id"])}
    rows = [at.get(name, -1) for name in found["landmark_id"]]
    lon, lat = (objects(points[name][row] if row >= 0 else None for row in rows) for name in (columns.lon, columns.lat))
    lonlat, without = degrees(lon, lat)
    without[np.array(rows, dtype=np.int64) < 0] = NO_LANDMARK
    home = path.absolute().parent if images is None else images.absolute()
    names = [str(one) for one in found["id"]]
    keys = {"landmark_id": found["landmark_id"], "place": objects(f"landmark-{one}" for one in found["landmark_id"])}
    urls = {"page": found["url"]} if "url" in found else {}
    notes = (f"{len(bad):,} lines of {landmarks.name} have another number of cells than its header",) if bad else ()
    return Found(
        where=str(path),
        ids=objects(names),
        assets=objects(str(home.joinpath(*name[:3], f"{name}.jpg")) for name in names),
        lonlat=lonlat,
        without=without,
        attributes={**keys, **urls},
        refs=(SourceRef(href=path.name), SourceRef(href=landmarks.name)),
        notes=notes,
        lost=tuple(lost),
    )


def osv5m(path: Path, images: Path | None, landmarks: Path | None, columns: Columns) -> Found:
    """OpenStreetView-5M: ``train.csv`` or ``test.csv`` with id, latitude, longitude; images in shards ``00/ID.jpg``.

    Images are looked for by their names in ``images/train`` (``images/test``) beside the file, or in the folder given.
    `sequence` is kept: photos of one drive. Of the further columns none is taken for anything but an attribute.
    """
    _unused(landmarks, "osv5m")
    data, lost = read_csv(path, texts=("id", "sequence", "latitude", "longitude", "creator_id"))
    found = table_columns(data, path)
    _needed(path, found, ("id", "latitude", "longitude"))
    home = images or next(
        (one for one in (path.parent / "images" / path.stem, path.parent / "images") if one.is_dir()), path.parent
    )
    files = _by_stem(home)
    names = [str(one) for one in found["id"]]
    # A path that does not exist says in the list of what was skipped where the image was looked for.
    found["file"] = objects(str(files.get(name, home.absolute() / f"{name}.jpg")) for name in names)
    if "captured_at" in found:
        found["taken"] = found.pop("captured_at")
    if "creator_username" in found:
        found["author"] = found.pop("creator_username")
    return listed(path, found, Columns(lon="longitude", lat="latitude", file="file", id="id"), lost=lost)


LAYOUTS: dict[str, Callable[[Path, Path | None, Path | None, Columns], Found]] = {
    "flickr": flickr,
    "gldv2": gldv2,
    "osv5m": osv5m,
}


def layout_of_photos(
    path: str | Path,
    layout: str,
    *,
    images: str | Path | None = None,
    landmarks: str | Path | None = None,
    columns: Columns | None = None,
) -> Found:
    """The photos of a public collection by its published metadata.

    Args:
        path: the metadata file.
        layout: one of `LAYOUTS`.
        images: the folder of the images; by default that of the metadata.
        landmarks: of gldv2, a CSV of coordinates by landmark.
        columns: the names of its columns of longitude and latitude.

    Raises:
        UsageError: there is no such layout, or it needs another file.
        FormatError: the file is not in this layout.
        SchemaError: a column is absent.
    """
    read = LAYOUTS.get(layout)
    if read is None:
        raise UsageError(f"there is no layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    for one in (path, landmarks):
        if one is not None and not Path(one).is_file():
            what = "is a folder" if Path(one).is_dir() else "does not exist"
            raise FormatError(f"{one} {what}: give the file of metadata, which names the photos")
    folder, marks = (None if one is None else Path(one) for one in (images, landmarks))
    return read(Path(path), folder, marks, columns or Columns())


def _tabs(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            # The collection quotes nothing: a quotation mark is one.
            yield from csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: this is no text parted by tabs ({error})") from None


def _yfcc_file(home: Path, row: dict[str, str]) -> Path:
    name = f"{row['id']}.{row['extension'] or 'jpg'}"
    digest = row.get("hash", "")
    stored = home / digest[:3] / digest[3:6] / f"{digest}.{row['extension'] or 'jpg'}"
    return stored if digest and not (home / name).is_file() and stored.is_file() else home / name


def _by_stem(home: Path) -> dict[str, Path]:
    """The images below a folder by their names without the ending."""
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(home.absolute()):
        folders.sort()
        for name in names:
            file = Path(root, name)
            if file.suffix.lower() in SUFFIXES:
                found.setdefault(file.stem, file)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _needed(path: Path, found: dict[str, Any], names: tuple[str, ...]) -> None:
    absent = next((name for name in names if name not in found), None)
    if absent is not None:
        raise SchemaError(f"{path} has no column {absent!r}; its columns: {', '.join(list(found)[:30])}")


def _unused(landmarks: Path | None, layout: str) -> None:
    if landmarks is not None:
        raise UsageError(f"--landmarks is for the layout gldv2: the photos of {layout} have coordinates of their own")
