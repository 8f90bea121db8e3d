"""How modalities open the rasters that they are given: files, folders and patterns of tiles, addresses, datasets."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from placevec.errors import UsageError
from placevec.provenance import SourceRef
from placevec.sources.rasters import Raster
from placevec.sources.tables.detect import expand
from placevec.tasks.inputs import open_raster

SUFFIXES = (".tif", ".tiff", ".vrt", ".img", ".jp2", ".asc")
"""What a folder of tiles is searched for."""


def raster_names(given: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """The rasters that are meant, each once: folders and patterns give the files in them, by name.

    Raises:
        UsageError: none is named, or a folder or a pattern holds none.
    """
    found: list[str] = []
    for name in given:
        path = Path(name)
        if "://" in name:
            found.append(name)
        elif path.is_dir():
            inside = sorted(str(one) for one in path.rglob("*") if one.suffix.lower() in suffixes and one.is_file())
            if not inside:
                raise UsageError(f"{name}: the folder holds no file to read ({', '.join(suffixes)}); name the files")
            found += inside
        elif not path.exists() and glob.has_magic(name):
            found += expand(name)
        else:
            found.append(name)
    if not found:
        raise UsageError("no raster is named: give at least one file, folder, address or dataset")
    return list(dict.fromkeys(found))


def open_rasters(given: Sequence[str]) -> tuple[list[Raster], tuple[SourceRef, ...]]:
    """The rasters, opened but not read, and what provenance says of them; see `raster_names`."""
    pairs = [open_raster(name) for name in raster_names(given)]
    return [raster for raster, _ in pairs], tuple(dict.fromkeys(ref for _, refs in pairs for ref in refs))


def check_band(rasters: Sequence[Raster], band: int) -> int:
    """The index of a band that people count from 1; UsageError if a raster has none of that number."""
    for raster in rasters:
        if not 1 <= band <= raster.count:
            raise UsageError(f"{raster.href} has no band {band}; it has 1 to {raster.count}")
    return band - 1


def check_share(min_valid: float) -> float:
    """A share; UsageError if it is none."""
    if not 0.0 <= min_valid <= 1.0:
        raise UsageError(f"min_valid is {min_valid}; give a share of the cell from 0 to 1")
    return min_valid
