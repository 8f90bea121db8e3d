"""A layer of patches: a raster under a name, as classes or as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.provenance import SourceRef, digest_json, sha256_file
from placevec.sources.classes import UNKNOWN, ClassTable
from placevec.sources.rasters import Raster
from placevec.sources.tiles import Level

LayerResampling = Literal["nearest", "mode", "bilinear"]

_TAKEN = ("id", "place", "lon", "lat", "h3", "lonlat", "valid", "image", "text", "rows")


@dataclass(frozen=True, eq=False)
class Layer:
    """A raster of which every patch has a part.

    Raises:
        UsageError: the name, the resampling or an option does not fit.
        DataError: the raster has no such band.
    """

    name: str  # the key of its arrays in a batch
    raster: Raster  # where it is read
    classes: ClassTable | None = None  # given: classes, uint8 indices; None: values, float32 in the raster's units
    # Classes: "nearest", or "mode", the most frequent where pixels of the patch are coarser. Values: "bilinear",
    # averaged where coarser, or "nearest". By default nearest for classes and bilinear for values.
    resampling: LayerResampling | None = None
    band: int = 1  # position among the raster's bands, from 1
    unknown: Literal["error", "nodata"] = "error"  # what a code is that the class table does not have
    empty: int | None = None  # of classes: the code that nodata within the raster stands for, such as that of the sea
    refs: tuple[SourceRef, ...] = ()  # where the raster comes from; by default the name and the digest of its file

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name) or self.name in _TAKEN:
            raise UsageError(f"a layer cannot be called {self.name!r}; take a word such as cover or elevation")
        allowed = ("nearest", "mode") if self.classes is not None else ("bilinear", "nearest")
        chosen = self.resampling or allowed[0]
        if chosen not in allowed:
            kind = "classes" if self.classes is not None else "values"
            hint = "; classes are never interpolated" if chosen == "bilinear" else ""
            raise UsageError(f"layer {self.name}: {kind} are read by {' or '.join(allowed)}, not {chosen!r}{hint}")
        if self.unknown not in ("error", "nodata"):
            raise UsageError(f'layer {self.name}: unknown is {self.unknown!r}; choose "error" or "nodata"')
        if self.empty is not None and (self.classes is None or self.empty not in self.classes.indices):
            known = "values have no classes" if self.classes is None else f"no class of {self.classes.name}"
            raise UsageError(f"layer {self.name}: empty is {self.empty}: {known}; give a code of the class table")
        if not 1 <= self.band <= self.raster.count:
            raise DataError(f"{self.raster.href} has no band {self.band}; it has 1 to {self.raster.count}")
        object.__setattr__(self, "resampling", chosen)

    @property
    def title(self) -> str:
        """What messages call the raster: the name of its file."""
        href = self.raster.href
        return href if href.startswith(("dataset:", "memory:")) else href.rstrip("/").rsplit("/", 1)[-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a patch: uint8 for classes, float32 for values."""
        return np.dtype(np.float32 if self.classes is None else np.uint8)

    @property
    def missing(self) -> Any:
        """What stands where nothing is: index 0, or NaN."""
        return self.dtype.type(np.nan if self.classes is None else 0)

    def window(self, level: Level, row: int, col: int, height: int, width: int) -> NDArray[Any]:
        """Indices or values (height, width) of a window of a level, `missing` outside the raster and at nodata.

        A code that the table does not have is `UNKNOWN`.
        """
        raw, valid = self.raster.window(level, row, col, height, width, self.band - 1)
        if self.classes is None:
            out: NDArray[Any] = raw.astype(np.float32)
            if valid is not None:
                out[~valid] = np.nan
            return out
        if self.empty is None and valid is not None and not valid.any():  # of the sea there is much
            return np.zeros((height, width), dtype=np.uint8)
        out = self.classes.marks(raw, unknown=self.unknown)
        if valid is not None:
            out = out.copy()
            out[~valid] = 0
            if self.empty is not None:
                rows, cols = np.arange(row, row + height), np.arange(col, col + width)
                inside = (rows >= 0) & (rows < level.height)
                across = np.ones(width, dtype=bool) if self.raster.wraps else (cols >= 0) & (cols < level.width)
                out[~valid & inside[:, None] & across[None, :]] = self.classes.indices[self.empty]
        return out

    def check_codes(self, window: NDArray[np.uint8], level: Level, row: int, col: int, at: NDArray[Any]) -> None:
        """DataError if one of the pixels `at` (flat) of a `window` that begins at (row, col) is of no known class."""
        if self.classes is None:
            return
        bad = at[window.reshape(-1)[at] == UNKNOWN]
        if len(bad):
            y, x = divmod(int(bad[0]), window.shape[1])
            raw, _ = self.raster.window(level, row + y, col + x, 1, 1, self.band - 1)
            raise self.classes.unknown_code(raw[0, 0], self.title)

    def sources(self) -> tuple[SourceRef, ...]:
        """Where the raster comes from, of a file with its digest; none for an array in memory."""
        in_memory = self.raster.href.startswith("memory:")
        given = self.refs or (() if in_memory else (SourceRef(self.title),))
        if len(given) != 1 or given[0].sha256 or not _is_file(self.raster.href):
            return given
        return (replace(given[0], sha256=self._raster["sha256"]),)

    @cached_property
    def _raster(self) -> dict[str, Any]:
        return raster_identity(self.raster)

    def identity(self) -> dict[str, Any]:
        """What tells this layer from another, as JSON: raster, class table and how it is read."""
        return {
            "name": self.name,
            "raster": self._raster,
            "classes": None if self.classes is None else self.classes.to_json(),
            "resampling": self.resampling,
            "band": self.raster.bands[self.band - 1],
            "unknown": self.unknown,
            **({} if self.empty is None else {"empty": self.empty}),
        }


def raster_identity(raster: Raster) -> dict[str, Any]:
    """What tells a raster from another, as JSON.

    Of a file its digest; of an address the address and, as of an array in memory, shape, place and a sample of
    pixels, for its bytes are too many to be fetched.
    """
    found: dict[str, Any] = {
        "shape": [raster.height, raster.width],
        "transform": list(raster.transform),
        "crs": digest_json(raster.crs.to_wkt())[:16],
        # A band that alone is read of several is number 1 to the layer.
        **({} if raster.bands == tuple(range(1, raster.count + 1)) else {"bands": list(raster.bands)}),
    }
    if _is_file(raster.href):
        return found | {"sha256": sha256_file(Path(raster.href))}
    rng = np.random.default_rng(0)
    col, row = rng.uniform(0, raster.width, 256), rng.uniform(0, raster.height, 256)
    values, valid = raster.gather(col, row, resampling="nearest")
    return found | {"href": raster.href, "sample": digest_json([values.tolist(), valid.tolist()])[:32]}


def _is_file(href: str) -> bool:
    return "://" not in href and Path(href).is_file()
