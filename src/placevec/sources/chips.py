"""Chips: square cuttings of a raster around places, of one size on the ground wherever they lie.

The ground square lies in the azimuthal equal-area projection (LAEA) of WGS84 around the place, north up, so that a
chip covers as much land at 60 degrees as at the equator, and chips of several rasters cover the same land.
"""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.sources.base import Batch, Rows, check_rows
from placevec.sources.rasters import RESAMPLINGS, Raster, Resampling
from placevec.sources.tiles import Level
from placevec.table import Places, Skipped

Floats = NDArray[np.float64]

_A, _F = 6378137.0, 1.0 / 298.257223563  # WGS84
_E2 = _F * (2.0 - _F)

_NODES = -np.cos(np.pi * np.arange(5) / 4.0)  # Chebyshev-Lobatto, on [-1, 1]
_CHECKS = np.array([-0.9, -0.4, 0.4, 0.9])
_TOLERANCE = 0.02  # pixels of the raster by which an interpolated position may be off
_SAMPLES = 1 << 18  # samples that are taken at once


def _q_of(sine: Any) -> Any:
    """The q of Snyder's equation 3-12, of sines of latitudes."""
    e = math.sqrt(_E2)
    es = e * sine
    return (1.0 - _E2) * (sine / (1.0 - es * es) - np.log((1.0 - es) / (1.0 + es)) / (2.0 * e))


def authalic(lat: Floats) -> Floats:
    """Authalic latitudes in radians of latitudes in degrees: on their sphere areas are those of WGS84.

    Source: Snyder (1987), equations 3-11 and 3-12.
    """
    return np.asarray(np.arcsin(np.clip(_q_of(np.sin(np.radians(lat))) / float(_q_of(1.0)), -1.0, 1.0)))


def authalic_inverse(beta: Floats) -> Floats:
    """Latitudes in radians of authalic latitudes in radians. Source: Snyder (1987), equation 3-18."""
    e4, e6 = _E2**2, _E2**3
    found: Floats = (
        beta
        + (_E2 / 3.0 + 31.0 * e4 / 180.0 + 517.0 * e6 / 5040.0) * np.sin(2.0 * beta)
        + (23.0 * e4 / 360.0 + 251.0 * e6 / 3780.0) * np.sin(4.0 * beta)
        + (761.0 * e6 / 45360.0) * np.sin(6.0 * beta)
    )
    return found


def laea_inverse(lon0: Floats, lat0: Floats, east: Floats, north: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude in degrees of metres east and north of centres, all arrays broadcast together.

    The oblique Lambert azimuthal equal-area projection of the ellipsoid WGS84, the same as a `LocalFrame` around
    each centre but for many centres at once. Source: J. P. Snyder, Map Projections: A Working Manual, USGS
    Professional Paper 1395 (1987), equations 3-11, 3-12, 3-18, 14-15, 24-20 and 24-28 to 24-30.
    """
    phi1 = np.radians(lat0)
    qp = float(_q_of(1.0))
    rq = _A * math.sqrt(qp / 2.0)
    sine, cosine = np.sin(phi1), np.abs(np.cos(phi1))
    sin_b1 = _q_of(sine) / qp
    # cos(beta) / cos(phi) tends to a limit at the poles, where the quotient itself loses its digits.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt(np.maximum((1.0 - sin_b1) * (1.0 + sin_b1), 0.0)) / cosine
    ratio = np.where(cosine < 1e-3, math.sqrt(2.0 / ((1.0 - _E2) * qp)), ratio)
    cos_b1 = ratio * cosine
    d = _A / np.sqrt(1.0 - _E2 * sine * sine) / (rq * ratio)
    x, y = east / d, north * d
    rho = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        ce = 2.0 * np.arcsin(rho / (2.0 * rq))  # NaN beyond the antipode
        k = np.where(rho > 0.0, np.sin(ce) / rho, 1.0 / rq)
    beta = np.arcsin(np.clip(np.cos(ce) * sin_b1 + y * k * cos_b1, -1.0, 1.0))
    lam = np.arctan2(x * k, cos_b1 * np.cos(ce) - y * sin_b1 * k)
    return (lon0 + np.degrees(lam) + 180.0) % 360.0 - 180.0, np.degrees(authalic_inverse(beta))


class ChipSource:
    """A Source of chips, one around each place.

    Every place asked for gives either a chip or a `Skipped` of stage "chip" with the reason; none is dropped.

    Args:
        places: where to cut; places without geometry are skipped.
        raster: what to cut from.
        ground_m: side of the square in metres.
        pixels: side of the square in pixels.
        resampling: "bilinear", or for classes "nearest" and "mode". Where the chip's pixels are coarser than the
            raster's, "bilinear" averages and "mode" takes the most frequent; "nearest" takes single pixels.
        nodata: "keep" a chip with some pixels missing, or "skip" it.
        min_valid: a chip with a smaller share of valid pixels is skipped; 0 keeps even one of nodata alone.
        edge: "pad" a chip that reaches over the rim of the raster, or "skip" it. One that lies wholly outside is
            always skipped.
        fill: the value of missing pixels.

    Raises:
        UsageError: an option is not one of those named, or a size is not positive.
    """

    def __init__(
        self,
        places: Places,
        raster: Raster,
        ground_m: float,
        pixels: int,
        *,
        resampling: Resampling = "bilinear",
        nodata: Literal["keep", "skip"] = "keep",
        min_valid: float = 0.5,
        edge: Literal["pad", "skip"] = "pad",
        fill: float = 0.0,
    ) -> None:
        if not (math.isfinite(ground_m) and 0 < ground_m <= 1e7):
            raise UsageError(f"a chip cannot measure {ground_m} m; give its side in metres, up to 10,000 km")
        if int(pixels) != pixels or not 1 <= pixels <= 8192:
            raise UsageError(f"a chip cannot have {pixels} x {pixels} pixels; give 1 to 8192")
        for name, value, known in (
            ("resampling", resampling, RESAMPLINGS),
            ("nodata", nodata, ("keep", "skip")),
            ("edge", edge, ("pad", "skip")),
        ):
            if value not in known:
                raise UsageError(f"{name} is {value!r}; choose one of {', '.join(known)}")
        if not 0 <= min_valid <= 1:
            raise UsageError(f"min_valid is {min_valid}; give a share from 0 to 1")
        self.raster = raster
        self.ground_m = float(ground_m)
        self.pixels = int(pixels)
        self.resampling = resampling
        self.nodata = nodata
        self.min_valid = min_valid
        self.edge = edge
        self.fill = fill
        self._given = places

    def elsewhere(self, places: Places) -> ChipSource:
        """The same at other places; what was read of the raster serves both."""
        found = copy(self)
        found.__dict__.pop("_with_assets", None)
        found._given = places
        return found

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the images: uint8 where the raster is, else float32."""
        return np.dtype(np.uint8 if self.raster.dtype == np.uint8 else np.float32)

    def places(self) -> Places:
        """The places, with `asset` naming the window of the raster behind each chip."""
        return self._with_assets

    @cached_property
    def _with_assets(self) -> Places:
        windows = self.windows()
        assets = [
            None if w <= 0 or h <= 0 else f"{self.raster.href}#xywh={col},{row},{w},{h}"
            for col, row, w, h in windows.tolist()
        ]
        return self._given.with_column("asset", assets)

    def windows(self) -> NDArray[np.int64]:
        """The windows (n, 4) of the raster behind the chips: column, row, width, height in whole pixels.

        Without overlap the width is 0. On a raster that goes around the globe, column + width may exceed its width:
        the window goes on at column 0.
        """
        out = np.zeros((len(self._given), 4), dtype=np.int64)
        rows = np.flatnonzero(np.isfinite(self._given.lon) & np.isfinite(self._given.lat))
        for first in range(0, len(rows), 8192):
            part = rows[first : first + 8192]
            col, row = self._positions(part, _NODES)
            with np.errstate(invalid="ignore"):
                low_c, high_c = np.nanmin(col, axis=(1, 2)), np.nanmax(col, axis=(1, 2))
                low_r, high_r = np.nanmin(row, axis=(1, 2)), np.nanmax(row, axis=(1, 2))
            good = np.isfinite([low_c, high_c, low_r, high_r]).all(axis=0)
            c0, c1, r0, r1 = (np.where(good, v, 0.0) for v in (low_c, high_c, low_r, high_r))
            eps = 1e-6  # a border that meets a pixel's border but for rounding needs no further pixel
            c0, r0 = np.floor(c0 + eps), np.clip(np.floor(r0 + eps), 0, self.raster.height)
            c1, r1 = np.ceil(c1 - eps), np.clip(np.ceil(r1 - eps), 0, self.raster.height)
            if self.raster.wraps:
                c1 = np.minimum(c1, c0 + self.raster.width)
                turn = np.floor(c0 / self.raster.width) * self.raster.width
                c0, c1 = c0 - turn, c1 - turn
            else:
                c0, c1 = np.clip(c0, 0, self.raster.width), np.clip(c1, 0, self.raster.width)
            box = np.stack([c0, r0, c1 - c0, r1 - r0], axis=1)
            box[~good | (c1 <= c0) | (r1 <= r0)] = 0
            out[part] = box.astype(np.int64)
        return out

    def read(self, rows: Rows) -> Batch:
        """Chips of `rows`: "image" (m, bands, pixels, pixels), "valid" (m,) and "lonlat" (m, 2).

        Blocks of the raster are read in storage order, each once, whatever the order of `rows`.
        """
        rows = check_rows(rows, len(self._given))
        lon, lat = self._given.lon[rows], self._given.lat[rows]
        located = np.isfinite(lon) & np.isfinite(lat)
        n, size, bands = len(rows), self.pixels, self.raster.count
        image = np.full((n, bands, size, size), self.fill, dtype=self.dtype)
        valid, inside = np.zeros(n), np.zeros(n)
        for level, part in self._in_storage_order(rows, np.flatnonzero(located)):
            image[part], valid[part], inside[part] = self._cut(rows[part], level)
        kept: list[int] = []
        skipped: list[Skipped] = []
        for i in range(n):
            reason = self._reason(bool(located[i]), float(valid[i]), float(inside[i]))
            if reason is None:
                kept.append(i)
            else:
                skipped.append(self._skipped(int(rows[i]), reason))
        if len(kept) < n:
            image, valid = image[kept], valid[kept]
            rows, lon, lat = rows[kept], lon[kept], lat[kept]
        return Batch(rows, {"image": image, "valid": valid, "lonlat": np.stack([lon, lat], axis=1)}, skipped)

    def _reason(self, located: bool, valid: float, inside: float) -> str | None:
        if not located:
            return "no geometry"
        if inside == 0:
            return "outside the raster"
        if self.edge == "skip" and inside < 1:
            return "reaches over the edge of the raster"
        if self.nodata == "skip" and valid < inside:
            return f"{1 - valid / inside:.0%} of its pixels are nodata"
        if valid < self.min_valid:
            return f"only {valid:.0%} of its pixels are valid, {self.min_valid:.0%} are asked for"
        return None

    def _skipped(self, row: int, reason: str) -> Skipped:
        geometry = self._given.data["geometry"][row].as_py()
        return Skipped(str(self._given.ids[row]), "chip", reason, geometry)

    def _in_storage_order(self, rows: Rows, located: NDArray[np.int64]) -> list[tuple[Level, NDArray[np.int64]]]:
        """Groups of `located` (places in `rows`) that share a level and lie near each other in the file."""
        if not len(located):
            return []
        which = rows[located]
        col, row = self._positions(which, np.array([-0.01, 0.0, 0.01]))
        step = 0.02 * self.ground_m / 2.0
        with np.errstate(invalid="ignore"):
            across = np.hypot(col[:, 1, 2] - col[:, 1, 0], col[:, 2, 1] - col[:, 0, 1])
            down = np.hypot(row[:, 1, 2] - row[:, 1, 0], row[:, 2, 1] - row[:, 0, 1])
        scale = self.ground_m / self.pixels / step
        rx, ry = across * scale, down * scale
        # Beside a pole the columns of a plate carree run together: there, averaging follows the rows.
        rx, ry = np.minimum(rx, 16.0 * ry), np.minimum(ry, 16.0 * rx)
        levels = [self.raster.level(x, y, self.resampling) for x, y in zip(rx.tolist(), ry.tolist(), strict=True)]
        known = sorted(set(levels), key=lambda level: (level.sx, level.sy))
        number = np.array([known.index(level) for level in levels])
        block = max(1, self.raster.block_rows)
        with np.errstate(invalid="ignore"):
            strip = np.nan_to_num(row[:, 1, 1] // block, nan=-1.0, posinf=-1.0, neginf=-1.0)
        order = np.lexsort((np.nan_to_num(col[:, 1, 1], posinf=-1.0), strip, number))
        size = max(1, _SAMPLES // self.pixels**2)
        groups: list[tuple[Level, NDArray[np.int64]]] = []
        for i, level in enumerate(known):
            mine = order[number[order] == i]
            groups += [(level, located[mine[first : first + size]]) for first in range(0, len(mine), size)]
        return groups

    def _cut(self, rows: Rows, level: Level) -> tuple[NDArray[Any], Floats, Floats]:
        """Images (m, bands, pixels, pixels), shares of valid pixels and of pixels within the raster."""
        m, size, bands = len(rows), self.pixels, self.raster.count
        col, row = self._pixel_positions(rows)
        flat_c, flat_r = col.reshape(-1), row.reshape(-1)
        values, valid = self.raster.gather(flat_c, flat_r, resampling=self.resampling, level=level)
        inside = self.raster.contains(flat_c, flat_r).reshape(m, -1).mean(axis=1)
        if self.dtype == np.uint8:
            np.rint(values, out=values)
        if not valid.all():
            values[~valid] = self.fill
        whole = valid.all(axis=1).reshape(m, -1).mean(axis=1)
        images = values.reshape(m, size, size, bands).transpose(0, 3, 1, 2)
        return images.astype(self.dtype), whole, inside

    def _pixel_positions(self, rows: Rows) -> tuple[Floats, Floats]:
        """Positions (m, pixels, pixels) on the raster of the centres of all pixels of chips.

        The way from the ground to the raster is smooth: it is computed at 5 x 5 nodes and interpolated by
        polynomials, and computed in full where check points show that this is not good enough.
        """
        at = (2.0 * np.arange(self.pixels) + 1.0) / self.pixels - 1.0
        if self.pixels <= 6:
            return self._positions(rows, at)
        nodes = self._positions(rows, _NODES)
        weights, checks = _lagrange(self.pixels)
        exact = self._positions(rows, _CHECKS)
        error = np.zeros(len(rows))
        for coarse, fine in zip(nodes, exact, strict=True):
            with np.errstate(invalid="ignore"):
                error = np.maximum(error, np.abs(checks @ coarse @ checks.T - fine).max(axis=(1, 2)))
        with np.errstate(invalid="ignore"):
            col, row = (weights @ coarse @ weights.T for coarse in nodes)
            poor = np.flatnonzero(~(error <= _TOLERANCE))
        if len(poor):
            col[poor], row[poor] = self._positions(rows[poor], at)
        return col, row

    def _positions(self, rows: Rows, at: Floats) -> tuple[Floats, Floats]:
        """Positions (m, k, k) on the raster of grid points `at` (k,) of the squares, on [-1, 1], first row north.

        On a raster that goes around the globe, columns are those next to the chip's own, below 0 or beyond the width.
        """
        half = self.ground_m / 2.0
        east, north = np.meshgrid(half * at, -half * at)
        lon0, lat0 = self._given.lon[rows][:, None, None], self._given.lat[rows][:, None, None]
        lon, lat = laea_inverse(lon0, lat0, east, north)
        col, row = self.raster.pixel(lon, lat)
        if self.raster.wraps:
            centre, _ = self.raster.pixel(lon0, lat0)
            col = col + self.raster.width * np.round((centre - col) / self.raster.width)
        return col, row


@lru_cache(maxsize=16)
def _lagrange(pixels: int) -> tuple[Floats, Floats]:
    """Weights of the nodes at the centres of pixels (pixels, 5) and at the check points (4, 5)."""
    at = (2.0 * np.arange(pixels) + 1.0) / pixels - 1.0

    def basis(x: Floats) -> Floats:
        columns = []
        for k, node in enumerate(_NODES):
            others = np.delete(_NODES, k)
            columns.append(np.prod((x[:, None] - others) / (node - others), axis=1))
        return np.stack(columns, axis=1)

    return basis(at), basis(_CHECKS)
