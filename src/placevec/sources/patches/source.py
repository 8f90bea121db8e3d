"""PatchSource: the patches of places, all layers over the same square of the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.provenance import SourceRef, digest_json
from placevec.sources.base import Batch, Rows, check_rows
from placevec.sources.patches.blocks import LARGEST, Blocks, cut, margin_of
from placevec.sources.patches.layers import Layer
from placevec.sources.patches.overlap import check_overlap, check_places
from placevec.sources.patches.positions import Positions, Squares
from placevec.sources.tiles import Level
from placevec.table import Places, Skipped

Floats = NDArray[np.float64]

_SAMPLES = 1 << 22  # samples of a layer that are read at once


class PatchSource:
    """A Source of patches: every layer over the same square around each place, as wide in metres everywhere.

    The square lies in the azimuthal equal-area projection around the place, north up. Every place asked for gives
    either a patch in all layers or a `Skipped` of stage "patch" with the reason; what is homogeneous is a patch like
    any other. A patch does not depend, in any bit, on those that are read with it.

    Args:
        places: the centres; places without geometry are skipped.
        layers: what is read, with names that differ.
        ground_m: side of the square in metres.
        pixels: side of a patch in pixels.
        min_valid: a place of which a layer has a smaller share of valid pixels is skipped. One where a layer has
            none at all always is.
        cache_bytes: how much of each layer may be held ready for cutting (one block at least).

    Raises:
        UsageError: an option is not possible, or two layers have one name.
        DataError: the rasters have no part of the Earth in common.
    """

    def __init__(
        self,
        places: Places,
        layers: Sequence[Layer],
        ground_m: float,
        pixels: int,
        *,
        min_valid: float = 0.5,
        cache_bytes: int = 96 << 20,
    ) -> None:
        if not (math.isfinite(ground_m) and 0 < ground_m <= 1e7):
            raise UsageError(f"a patch cannot measure {ground_m} m; give its side in metres, up to 10,000 km")
        if int(pixels) != pixels or not 1 <= pixels <= 1024:
            raise UsageError(f"a patch cannot have {pixels} x {pixels} pixels; give 1 to 1024")
        if not 0 <= min_valid <= 1:
            raise UsageError(f"min_valid is {min_valid}; give a share from 0 to 1")
        names = [layer.name for layer in layers]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"layers {', '.join(names) or '(none)'}: give at least one, each with a name of its own")
        check_overlap(layers)
        self.layers = tuple(layers)
        self.ground_m = float(ground_m)
        self.pixels = int(pixels)
        self.min_valid = float(min_valid)
        self._places = places
        # Layers of one grid, such as the bands of a picture, lie at the same positions.
        grids: dict[tuple[Any, ...], Positions] = {}
        self._positions = [
            grids.setdefault(_grid(layer), Positions(layer.raster, self.ground_m)) for layer in self.layers
        ]
        self._blocks = [Blocks(layer, cache_bytes) for layer in layers]

    def places(self) -> Places:
        """The places, as they were given."""
        return self._places

    def elsewhere(self, places: Places) -> PatchSource:
        """The same at other places; what was read of the rasters serves both."""
        found = copy(self)
        found._places = places
        return found

    def check_places(self) -> None:
        """DataError if there are places, but none of them lies on all rasters; cheap where the first ones do."""
        check_places(self._places, self.layers, self.ground_m)

    def read(self, rows: Rows) -> Batch:
        """Patches of `rows`: an array for each layer, and "lonlat" (m, 2).

        Classes are (m, pixels, pixels) uint8: 0 where nothing is, i + 1 for class i of the layer's table. Values are
        (m, pixels, pixels) float32 in the raster's units, NaN where nothing is.

        Raises:
            DataError: a raster holds a code that its class table does not have.
        """
        rows = check_rows(rows, len(self._places))
        lon, lat = self._places.lon[rows], self._places.lat[rows]
        reasons: list[str | None] = [None] * len(rows)
        located = np.isfinite(lon) & np.isfinite(lat)
        for at in np.flatnonzero(~located).tolist():
            reasons[at] = "no geometry"
        here = np.flatnonzero(located)
        data: dict[str, NDArray[Any]] = {}
        for number, layer in enumerate(self.layers):
            patches, valid = self._layer(number, lon, lat, here)
            data[layer.name] = patches
            poor = np.flatnonzero(located & ((valid < self.min_valid) | (valid == 0.0)))
            for at, why in zip(poor.tolist(), self._reasons(number, lon[poor], lat[poor], valid[poor]), strict=True):
                reasons[at] = reasons[at] or why
        skipped = [self._skipped(int(rows[at]), text) for at, text in enumerate(reasons) if text is not None]
        if skipped:
            kept = np.flatnonzero(np.array([text is None for text in reasons]))
            data = {name: values[kept] for name, values in data.items()}
            rows, lon, lat = rows[kept], lon[kept], lat[kept]
        return Batch(rows, {**data, "lonlat": np.stack([lon, lat], axis=1)}, skipped)

    def identity(self) -> dict[str, Any]:
        """What the patches depend on besides the places, as JSON."""
        return {
            "layers": [layer.identity() for layer in self.layers],
            "ground_m": self.ground_m,
            "pixels": self.pixels,
            "min_valid": self.min_valid,
        }

    @property
    def refs(self) -> tuple[SourceRef, ...]:
        """Where the rasters come from, for provenance."""
        return tuple(dict.fromkeys(ref for layer in self.layers for ref in layer.sources()))

    def fingerprint(self) -> str:
        """The digest of `identity`."""
        return digest_json(self.identity())[:32]

    def _layer(
        self, number: int, lon: Floats, lat: Floats, here: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Patches (n, pixels, pixels) of one layer at the places `here`, and shares (n,) of valid pixels."""
        layer, size = self.layers[number], self.pixels
        out = np.full((len(lon), size, size), layer.missing, dtype=layer.dtype)
        valid = np.zeros(len(lon))
        squares, rest = self._positions[number].squares(lon[here], lat[here])
        slow = [here[rest]]
        for group in squares:
            for level, some, terms in _levels(layer, group, size):
                at = here[group.rows[some]]
                terms, reach, fits = _in_level(layer, level, terms)
                slow.append(at[~fits])
                if not fits.any():
                    continue
                at = at[fits]
                for part, patches, whole in cut(self._blocks[number], level, terms[..., fits], reach[fits], size):
                    out[at[part]] = patches
                    valid[at[part]] = 1.0 if whole else _shares(patches)
        left = np.concatenate(slow)
        step = max(1, _SAMPLES // 4 // size**2)
        for first in range(0, len(left), step):
            at = left[first : first + step]
            out[at] = self._one_by_one(number, lon[at], lat[at])
            valid[at] = _shares(out[at])
        return out, valid

    def _one_by_one(self, number: int, lon: Floats, lat: Floats) -> NDArray[Any]:
        """Patches whose samples are taken from the raster one by one, at exact positions."""
        layer, size = self.layers[number], self.pixels
        col, row = self._positions[number].exact(lon, lat, _centres(size))
        rx, ry = _steps(*self._positions[number].exact(lon, lat, np.array([-0.01, 0.0, 0.01])), size)
        out = np.empty(col.shape, dtype=layer.dtype)
        for level, some in _by_level(layer, rx, ry):
            resampling = layer.resampling or "nearest"
            values, ok = layer.raster.gather(
                col[some].reshape(-1), row[some].reshape(-1), resampling=resampling, level=level
            )
            value, good = values[:, layer.band - 1], ok[:, layer.band - 1]
            found = np.where(good, value, np.float32(np.nan))
            if layer.classes is not None:
                codes = layer.classes.marks(value, unknown=layer.unknown)
                found = np.where(good, codes, np.uint8(0))
                if layer.empty is not None:
                    inside = layer.raster.contains(col[some].reshape(-1), row[some].reshape(-1))
                    found[~good & inside] = layer.classes.indices[layer.empty]
                bad = np.flatnonzero(good & (codes == 255))
                if len(bad):
                    raise layer.classes.unknown_code(value[bad[0]], layer.title)
            out[some] = found.reshape(-1, size, size)
        return out

    def _reasons(self, number: int, lon: Floats, lat: Floats, valid: Floats) -> list[str]:
        """Why places (m,) with these shares of valid pixels have no patch."""
        layer = self.layers[number]
        told = np.full(
            len(lon), f"less than {self.min_valid:.0%} of its pixels have data in {layer.title}", dtype=object
        )
        empty = np.flatnonzero(valid == 0.0)
        told[empty] = f"no data in {layer.title}"
        # Corners and middles first: few squares lie across the rim.
        for points in (np.array([-1.0, 0.0, 1.0]), _centres(min(self.pixels, 32))):
            if not len(empty):
                break
            at = self._positions[number].exact(lon[empty], lat[empty], points)
            inside = layer.raster.contains(*at).reshape(len(empty), -1)
            empty = empty[~inside.any(axis=1)]
        told[empty] = f"outside {layer.title}"
        return [str(text) for text in told]

    def _skipped(self, row: int, reason: str) -> Skipped:
        geometry = self._places.data["geometry"][row].as_py()
        return Skipped(str(self._places.ids[row]), "patch", reason, geometry)


def _grid(layer: Layer) -> tuple[Any, ...]:
    raster = layer.raster
    return raster.transform, raster.height, raster.width, raster.crs.to_wkt()


def _centres(pixels: int) -> Floats:
    return (2.0 * np.arange(pixels) + 1.0) / pixels - 1.0


def _shares(patches: NDArray[Any]) -> Floats:
    flat = patches.reshape(len(patches), -1)
    found = ~np.isnan(flat) if flat.dtype.kind == "f" else flat != 0
    return np.asarray(found.mean(axis=1), dtype=np.float64)


def _levels(layer: Layer, group: Squares, pixels: int) -> list[tuple[Level, NDArray[np.int64], Floats]]:
    """The squares of a group by their level of detail: (level, which of the group, their terms)."""
    # Columns and rows of the raster along one pixel of the patch, from the slopes at its centre.
    slope = 2.0 / pixels
    rx = slope * np.hypot(group.terms[0, 0, 1], group.terms[0, 1, 0])
    ry = slope * np.hypot(group.terms[1, 0, 1], group.terms[1, 1, 0])
    return [(level, some, group.terms[..., some]) for level, some in _by_level(layer, rx, ry)]


def _steps(col: Floats, row: Floats, pixels: int) -> tuple[Floats, Floats]:
    """Columns and rows (m,) of the raster along one pixel of a patch, from positions at its centre, 0.01 apart."""
    scale = 2.0 / pixels / 0.02
    with np.errstate(invalid="ignore"):
        across = np.hypot(col[:, 1, 2] - col[:, 1, 0], col[:, 2, 1] - col[:, 0, 1])
        down = np.hypot(row[:, 1, 2] - row[:, 1, 0], row[:, 2, 1] - row[:, 0, 1])
    return across * scale, down * scale


def _by_level(layer: Layer, rx: Floats, ry: Floats) -> list[tuple[Level, NDArray[np.int64]]]:
    """Squares (m,) by their level of detail, for steps of the samples in columns and rows of the raster."""
    if not len(rx):
        return []
    resampling = layer.resampling or "nearest"
    # Beside a pole the columns of a plate carree run together: there, averaging follows the rows.
    rx, ry = np.minimum(rx, 16.0 * ry), np.minimum(ry, 16.0 * rx)
    everyone = np.arange(len(rx))
    if np.isfinite(rx).all() and np.isfinite(ry).all():
        least = layer.raster.level(float(rx.min()), float(ry.min()), resampling)
        if least == layer.raster.level(float(rx.max()), float(ry.max()), resampling):
            return [(least, everyone)]  # levels do not grow finer with the step
    levels = [layer.raster.level(x, y, resampling) for x, y in zip(rx.tolist(), ry.tolist(), strict=True)]
    known = list(dict.fromkeys(levels))
    number = np.array([known.index(level) for level in levels])
    return [(level, everyone[number == i]) for i, level in enumerate(known)]


def _in_level(layer: Layer, level: Level, terms: Floats) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Terms in pixels of a level, how far (m,) the squares reach there, and which (m,) can be cut from blocks."""
    raster = layer.raster
    terms = terms.copy()
    if raster.wraps:
        terms[0, 0, 0] = np.mod(terms[0, 0, 0], raster.width)
    terms[0] /= level.sx
    terms[1] /= level.sy
    around = np.abs(terms.reshape(2, -1, terms.shape[-1]))[:, 1:].sum(axis=1)
    reach = np.ceil(np.maximum(around[0], around[1])).astype(np.int64) + 2
    fits = np.array([(4 * margin_of(r)) ** 2 <= LARGEST for r in np.unique(reach).tolist()], dtype=bool)
    good = fits[np.searchsorted(np.unique(reach), reach)]
    if raster.wraps and level.width * level.sx != raster.width:
        # Where the last column of a level is a part of one, positions do not go on evenly beyond it.
        good &= (terms[0, 0, 0] >= reach) & (terms[0, 0, 0] + reach <= level.width - 1)
    return terms, reach, good
