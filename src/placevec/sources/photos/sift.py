"""From photos as they were found to a photo list: each is kept, or skipped with the reason.

The checks come in the order of their cost, and a photo is skipped at the first that it fails: coordinates, area, file,
quality, repeats. Photos in = rows + skipped, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.photos.alike import look_alikes, same_bytes
from placevec.sources.photos.assemble import assembled
from placevec.sources.photos.exif import Exif
from placevec.sources.photos.found import Found
from placevec.sources.photos.grouping import By, joined, place_keys
from placevec.sources.photos.look import Indoor, Look, QualityRules, refusal, spectra_of
from placevec.sources.photos.looking import look_at_all, read_all_exif
from placevec.sources.photos.where import check_coordinates
from placevec.table import Places, Skipped
from placevec.table.geometry import points_to_wkb

Progress = Callable[[int, int, Mapping[str, Any]], None]

NO_ID = "it has no id"
SECOND_ID = "its id is that of an earlier photo"
NO_FILE = "no file is named"
SAME_BYTES = "the same file as an earlier photo"
ALIKE_HERE = "looks like an earlier photo taken within 1 km"
ALIKE_ELSEWHERE = "looks like an earlier photo taken over 1 km away"
INDOOR = "taken indoors"

_HERE_M = 1000.0
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Sifted:
    """Photos that were kept, and those that were not."""

    places: Places  # with `place`, `asset`, `region` where regions are given, and what lists and EXIF data say
    skipped: list[Skipped]  # each photo that is not among them, with the reason
    found: int  # photos in = rows + skipped


def sift(
    found: Found,
    rules: QualityRules | None = None,
    *,
    regions: Regions | None = None,
    metres: float = 25.0,
    by: By = "near",
    together: Sequence[Sequence[str]] = (),
    indoor: Indoor | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Sifted:
    """Keep the photos that can be used.

    Args:
        found: photos of a folder or a list, or chips.
        rules: of the quality; by default those of `QualityRules`.
        regions: the area; photos outside are skipped. None: anywhere on the Earth, and no column `region`.
        metres: photos within so many metres share a `place`, see `grouping.place_keys`.
        by: how places are told, see there.
        together: columns of the list; photos that agree in all columns of one of these sets share a `place`, such as
            ("user", "taken"): the photos of one user on one day. The list's own column `place` always counts.
        indoor: judges whether photos were taken indoors, see `look.Indoor`.
        threads: how many files are decoded at once.
        progress: told the photos done, their number, and how many were kept and skipped so far.

    Raises:
        SchemaError: a column of `together` or of `rules.indoor` is absent.
        DataError: `indoor` gives something else than a number from 0 to 1 for each photo.
    """
    rules = rules or QualityRules()
    sieve = _Sieve(found)
    sets = [*together, *([("place",)] if "place" in found.attributes else [])]
    for name in (*(one for columns in sets for one in columns), *([rules.indoor] if rules.indoor else [])):
        if name not in {*found.attributes, "taken", "author"}:
            known = ", ".join(found.attributes) or "none"
            raise SchemaError(f"{found.where} has no column {name!r}; its columns besides the standard ones: {known}")
    sieve.check_ids()
    sieve.drop(sieve.alive[found.assets[sieve.alive] == ""], "image", NO_FILE)
    exif: dict[int, Exif] = {}
    lonlat, without = found.lonlat.copy(), found.without.copy()
    if found.from_exif:
        exif = read_all_exif(found, sieve.alive, threads)
        for row, one in exif.items():
            if one.damaged:
                sieve.drop([row], "image", one.damaged)
            without[row] = one.without
            lonlat[row] = (np.nan if one.lon is None else one.lon, np.nan if one.lat is None else one.lat)
    region, reasons = check_coordinates(lonlat, without, regions)
    sieve.place(lonlat, reasons)
    if rules.indoor is not None:
        sieve.drop(_indoors(found.attributes[rules.indoor], sieve.alive, rules.max_indoor), "quality", INDOOR)
    looks: dict[int, Look] = {}
    total = len(sieve.alive)
    asked = sieve.alive
    for start in range(0, total, _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        seen, told, lost = look_at_all(found, part, rules, threads, exif, thumbnails=indoor is not None)
        exif |= told
        for row, (stage, why) in lost.items():
            sieve.drop([row], stage, why)
        for row, look in seen.items():
            why = refusal(look, rules)
            if why:
                sieve.drop([row], "quality", why)
        sieve.drop(_judged(indoor, seen, sieve, rules.max_indoor), "quality", INDOOR)
        alive = set(sieve.alive.tolist())
        looks |= {row: look.without_thumbnail() for row, look in seen.items() if row in alive}
        if progress is not None:
            kept = len(looks)
            done = min(start + _AT_ONCE, total)
            progress(len(found) - total + done, len(found), {"kept": kept, "skipped": len(sieve.skipped)})
    points = _without_repeats(sieve, looks, lonlat, rules)
    rows = sieve.alive
    ids = found.ids[rows]
    columns = assembled(found, rows, exif, looks, None if regions is None else [regions.names[i] for i in region[rows]])
    shared = [joined([columns[name].to_pylist() for name in names]) for names in sets if set(names) <= set(columns)]
    place = place_keys(ids, points, metres, by=by, shared=shared)
    columns.pop("place", None)
    places = Places.create(ids, points, place=place, asset=found.assets[rows], attributes=columns)
    return Sifted(places, [*found.lost, *sieve.skipped], len(found) + len(found.lost))


class _Sieve:
    """Which photos are still in, and why the others are not."""

    def __init__(self, found: Found) -> None:
        self.ids = found.ids
        self.skipped: list[Skipped] = []
        self._in = np.ones(len(found), dtype=bool)
        self._wkb: list[bytes | None] = [None] * len(found)

    @property
    def alive(self) -> NDArray[np.int64]:
        """The rows that are still in."""
        return np.flatnonzero(self._in)

    def check_ids(self) -> None:
        """Leave out what has no id, or that of another."""
        seen: set[str] = set()
        for row, name in enumerate(self.ids):
            if not name or name in seen:
                self.drop([row], "id", SECOND_ID if name else NO_ID)
            seen.add(name)

    def place(self, lonlat: NDArray[np.float64], reasons: NDArray[Any]) -> None:
        """Leave out what lies nowhere, or elsewhere; the others have a geometry from now on."""
        earthly = np.isfinite(lonlat).all(axis=1) & (np.abs(lonlat) <= (180.0, 90.0)).all(axis=1)
        rows = np.flatnonzero(earthly)
        for row, wkb in zip(rows, points_to_wkb(LonLat(*lonlat[rows].T)).to_pylist(), strict=True):
            self._wkb[row] = wkb
        for row in self.alive:
            if reasons[row]:
                self.drop([row], "coordinates", str(reasons[row]))

    def drop(self, rows: Any, stage: str, reason: str) -> None:
        """Leave out some rows that are still in."""
        for row in rows:
            if self._in[row]:
                self._in[row] = False
                name = str(self.ids[row]) or f"row-{row}"
                self.skipped.append(Skipped(name, stage, reason, self._wkb[row]))


def _without_repeats(
    sieve: _Sieve, looks: Mapping[int, Look], lonlat: NDArray[np.float64], rules: QualityRules
) -> LonLat:
    """Leave out repeats; where the photos that stay were taken."""
    if rules.exact:
        rows = sieve.alive
        sieve.drop(rows[same_bytes([looks[row].digest for row in rows]) >= 0], "duplicate", SAME_BYTES)
    if rules.near_bits is not None:
        rows = sieve.alive
        first = look_alikes(spectra_of([looks[row] for row in rows]), rules.near_bits)
        twice = np.flatnonzero(first >= 0)
        one, other = (LonLat(*lonlat[rows[at]].T) for at in (twice, first[twice]))
        here = distance_m(one, other) <= _HERE_M
        sieve.drop(rows[twice[here]], "duplicate", ALIKE_HERE)
        sieve.drop(rows[twice[~here]], "duplicate", ALIKE_ELSEWHERE)
    rows = sieve.alive
    return LonLat(*lonlat[rows].T)


def _indoors(values: NDArray[Any], rows: NDArray[np.int64], most: float) -> list[int]:
    found = []
    for row in rows:
        try:
            share = float(values[row])
        except (TypeError, ValueError):  # nothing is said of it
            continue
        if share > most:
            found.append(int(row))
    return found


def _judged(indoor: Indoor | None, seen: Mapping[int, Look], sieve: _Sieve, most: float) -> list[int]:
    alive = [row for row in sieve.alive.tolist() if row in seen]
    if indoor is None or not alive:
        return []
    images = np.stack([image for image in (seen[row].thumbnail for row in alive) if image is not None])
    shares = np.asarray(indoor(images), dtype=np.float64)
    if shares.shape != (len(alive),) or not ((shares >= 0) & (shares <= 1)).all():
        raise DataError(
            f"whether photos were taken indoors is a number from 0 to 1 for each of {len(alive)}; the function gave "
            f"an array of shape {shares.shape}"
        )
    return [row for row, share in zip(alive, shares, strict=True) if share > most]
