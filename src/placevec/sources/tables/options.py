"""What a user may say about a foreign table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from placevec.errors import UsageError
from placevec.geo.boxes import Box, check_box
from placevec.geo.cells import Cells
from placevec.table.codec import DTYPES


@dataclass(frozen=True)
class Options:
    """How foreign tables are to be understood; every field may be left out.

    Attributes:
        crs: the coordinate system, where a file does not name its own.
        space: a name for the Space; the user vouches that all vectors live in it.
        id: the column of ids; by default `id` where there is one, else ids are made of file name and row number.
        lon: the column of longitudes, or of x in `crs`.
        lat: the column of latitudes, or of y in `crs`.
        geometry: the column of geometries (WKT in CSV, WKB in Parquet).
        vector: the column of vectors (Parquet).
        prefix: what the names of component columns begin with: `dim_` means dim_0, dim_1 …
        dtype: how vectors are stored: float32 by default; int8 pixels of AlphaEarth stay as they are.
        delimiter: what separates the cells of a CSV; found out if not said.
        cells: rasters only: take the mean of the pixels in each cell.
        bbox: rasters only: read no more than (west, south, east, north), degrees.
    """

    crs: Any = None
    space: str | None = None
    id: str | None = None
    lon: str | None = None
    lat: str | None = None
    geometry: str | None = None
    vector: str | None = None
    prefix: str = "dim_"
    dtype: str | None = None
    delimiter: str | None = None
    cells: Cells | None = None
    bbox: Box | None = None

    def __post_init__(self) -> None:
        if (self.lon is None) != (self.lat is None):
            given = f"--lon {self.lon}" if self.lat is None else f"--lat {self.lat}"
            raise UsageError(f"{given} is given alone: give --lon and --lat together")
        if self.geometry is not None and self.lon is not None:
            raise UsageError(
                f"--geometry {self.geometry} and --lon {self.lon} are given: one of them says where rows are"
            )
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(f"vectors cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}")
        if self.bbox is not None:
            object.__setattr__(self, "bbox", check_box(self.bbox))

    def column(self, what: str, name: str, names: Sequence[str], path: str) -> str:
        """The column `name`, asked for by the option `what`; UsageError, with those that exist, if there is none."""
        if name not in names:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise UsageError(f"{path} has no column {name!r} for --{what}; its columns are: {shown}")
        return name
