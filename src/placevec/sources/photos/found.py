"""Photos as a folder or a list names them, before anything of them is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.base import Source
from placevec.sources.images import ImageFiles
from placevec.table import Skipped

if TYPE_CHECKING:
    from placevec.table import Places

NO_COORDINATES = "no coordinates"
NO_NUMBERS = "coordinates that are no numbers"

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Found:
    """Photos of which nothing is checked yet; n of them."""

    where: str  # what was read, for messages
    ids: Column  # (n,) object str; may repeat or be empty
    assets: Column  # (n,) object str: path of each file, "" where none is named; of chips their address
    lonlat: NDArray[np.float64]  # (n, 2) degrees as they were written; NaN where unknown
    without: Column  # (n,) object str: why there are no coordinates; "" where there are
    attributes: Mapping[str, Column] = field(default_factory=dict)  # further columns, n values each
    from_exif: bool = False  # whether the files themselves say where they were taken
    source: Source | None = None  # chips are read from it, row by row; None where `assets` are files
    refs: tuple[SourceRef, ...] = ()  # where it comes from, for provenance
    notes: tuple[str, ...] = ()  # for people
    lost: tuple[Skipped, ...] = ()  # rows that could not even be read as such

    def __post_init__(self) -> None:
        columns = {"assets": self.assets, "lonlat": self.lonlat, "without": self.without, **self.attributes}
        for name, values in columns.items():
            if len(values) != len(self.ids):
                raise SchemaError(f"{self.where}: {len(self.ids)} photos have {len(values)} values of {name}")

    def __len__(self) -> int:
        return len(self.ids)


def folder_of_photos(folder: str | Path) -> Found:
    """All images below a folder; their files say where they were taken.

    Raises:
        UsageError: there is no such folder, or no image in it.
    """
    files = ImageFiles(folder)
    n = len(files)
    return Found(
        where=str(folder),
        ids=objects(files.names),
        assets=objects(str(path.absolute()) for path in files.files),
        lonlat=np.full((n, 2), np.nan),
        without=objects([""] * n),
        from_exif=True,
        refs=(SourceRef(href=Path(folder).name),),
    )


def chips(source: Source, where: str = "chips", refs: Sequence[SourceRef] = ()) -> Found:
    """Chips of a raster around places, to be checked as photos are.

    Args:
        source: gives "image" (m, bands, H, W) uint8 by row, such as a ChipSource.
        where: what is read, for messages.
        refs: where it comes from, for provenance.

    Raises:
        UsageError: its places have no addresses of pixels.
    """
    places: Places = source.places()
    if not places.has("asset"):
        raise UsageError(f"{where}: the places do not say where their pixels are (no column 'asset'); name a raster")
    return Found(
        where=where,
        ids=places.ids,
        assets=objects("" if asset is None else asset for asset in places.column("asset")),
        lonlat=np.column_stack([places.lon, places.lat]),
        without=objects("" if there else NO_COORDINATES for there in places.located),
        attributes={name: places.column(name) for name in (*places.attributes, "place") if places.has(name)},
        source=source,
        refs=tuple(refs),
    )


def objects(values: Any) -> Column:
    """An object array (n,) of some values."""
    found = list(values)
    out = np.empty(len(found), dtype=object)
    out[:] = found
    return out


def degrees(lon: Sequence[Any] | Column, lat: Sequence[Any] | Column) -> tuple[NDArray[np.float64], Column]:
    """Coordinates (n, 2) as they were written, and for each row why there are none, "" where there are."""
    columns = [_floats(values) for values in (lon, lat)]
    lonlat = np.column_stack([values for values, _, _ in columns])
    absent = columns[0][1] | columns[1][1]
    odd = columns[0][2] | columns[1][2]
    return lonlat, objects(np.where(absent, NO_COORDINATES, np.where(odd, NO_NUMBERS, "")))


def _floats(values: Sequence[Any] | Column) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Numbers (n,), NaN where there is none; which are absent, and which are something else than numbers."""
    given = np.asarray(values)
    if given.dtype.kind in "iuf":
        numbers = given.astype(np.float64)
        return numbers, np.isnan(numbers), np.zeros(len(numbers), dtype=bool)
    numbers = np.full(len(given), np.nan)
    absent, odd = np.zeros(len(given), dtype=bool), np.zeros(len(given), dtype=bool)
    for row, value in enumerate(given):
        if value is None or (isinstance(value, str) and not value.strip()):
            absent[row] = True
            continue
        try:
            numbers[row] = float(value)
        except (TypeError, ValueError):
            odd[row] = True
    nan = np.isnan(numbers) & ~odd & ~absent  # "nan" is how some programs write nothing
    return numbers, absent | nan, odd
