"""Reading windows through GDAL (rasterio): files, https:// and s3:// addresses, overviews and masks."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.registry import need
from placevec.sources.remote import RemoteFile, is_remote
from placevec.sources.remote.mosaic import MosaicReader
from placevec.sources.remote.named import PREFIX, open_named
from placevec.sources.services.address import is_service
from placevec.sources.tiles import PixelReader

_SEQUENTIAL = {"JPEG", "PNG", "GIF", "WEBP", "BMP", "JPEGXL"}
# One request for the header instead of a listing of the folder, and a cache of what was fetched.
_REMOTE: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "VSI_CACHE": "TRUE", "GDAL_HTTP_MAX_RETRY": "3"}

_CACHE_BYTES = 256 << 20  # of decoded blocks, all datasets together


def gdal_path(href: str) -> str:
    """The name by which GDAL opens an address."""
    for scheme, prefix in (("https://", "/vsicurl/https://"), ("http://", "/vsicurl/http://"), ("s3://", "/vsis3/")):
        if href.startswith(scheme):
            return prefix + href.removeprefix(scheme)
    return href


class GdalReader(PixelReader):
    """A dataset of GDAL. It is opened when first read, once in each thread, and never travels between processes.

    What http://, https:// and s3:// addresses hold is kept in blocks on disk, see `remote`.

    Args:
        href: a file or an address.
        bands: numbers of the bands to read, from 1; by default all but an alpha band.
        refresh: of an address: fetch again what is kept of it.

    Attributes:
        bands: numbers of the bands read.
        dtype: the smallest type that holds the values of all of them.
        transform: its geotransform (a, b, c, d, e, f), None if it has none.
        crs_wkt: its coordinate system, None if it has none.
        nodata: the nodata value of the first band.
        overviews: (rows, columns) of each overview, the finest first.
        width: columns.
        height: rows.
    """

    def __init__(self, href: str, bands: Sequence[int] | None = None, *, refresh: bool = False) -> None:
        self.href = href
        self.remote = RemoteFile(href, refresh=refresh) if is_remote(href) else None
        self._name = gdal_path(href)
        self.local = not self._name.startswith(("/vsicurl", "/vsis3", "/vsigs", "/vsiaz"))
        self._handles = threading.local()
        with self._environment():
            source = self._open(-1)
            self.width, self.height = int(source.width), int(source.height)
            self.bands = _bands(href, source, bands)
            self.dtype = np.result_type(*(np.dtype(source.dtypes[band - 1]) for band in self.bands))
            if self.dtype.kind not in "iuf":
                raise FormatError(f"{href} holds values of type {self.dtype}; placevec reads integers and floats")
            self.nodata = source.nodatavals[self.bands[0] - 1]
            self.crs_wkt = source.crs.to_wkt() if source.crs else None
            given = tuple(float(value) for value in source.transform[:6])
            self.transform = None if given == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0) else _six(given)
            rows, cols = source.block_shapes[self.bands[0] - 1]
            self.block = (int(rows), int(cols))
            self.sequential = source.driver in _SEQUENTIAL
            flags = [source.mask_flag_enums[band - 1] for band in self.bands]
            self._masked = any([flag.name for flag in enums] != ["all_valid"] for enums in flags)
            factors = source.overviews(self.bands[0])
            self.overviews = tuple(self._overview_shape(i) for i in range(len(factors)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._handles = threading.local()

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns) at an overview, -1 for the raster itself."""
        return (self.height, self.width) if overview < 0 else self.overviews[overview]

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (bands, height, width) of a window, and their validity, or None where all are valid."""
        windows = need("rasterio.windows", extra="raster", purpose="reading rasters")
        errors = need("rasterio.errors", extra="raster", purpose="reading rasters")
        window = windows.Window(col, row, width, height)
        with self._environment():
            source = self._open(overview)
            try:
                values = source.read(list(self.bands), window=window)
                valid = source.read_masks(list(self.bands), window=window) > 0 if self._masked else None
                self._check_remote()
            except errors.RasterioError as error:
                self._check_remote()
                raise FormatError(
                    f"{self.href}: rows {row} to {row + height} cannot be read ({_cause(error)}); fetch the file again"
                ) from None
        return values.astype(self.dtype, copy=False), valid

    def _overview_shape(self, index: int) -> tuple[int, int]:
        source = self._open(index)
        return int(source.height), int(source.width)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        rasterio = need("rasterio", extra="raster", purpose="reading rasters")
        options = {} if self.local else dict(_REMOTE)
        if "GDAL_CACHEMAX" not in os.environ:  # by default 5 % of the memory of the machine, whatever the job
            options["GDAL_CACHEMAX"] = _CACHE_BYTES
        with warnings.catch_warnings(), rasterio.Env(**options):
            # The absence of a geotransform is our business: the caller gives bounds, or gets a CrsError.
            warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
            yield

    def _open(self, overview: int) -> Any:
        rasterio = need("rasterio", extra="raster", purpose="reading rasters")
        # A handle that crossed a fork would share its place in the file with the parent's.
        opened = self._handles.__dict__.setdefault(f"{os.getpid()}", {})
        if overview not in opened:
            options: dict[str, Any] = {} if overview < 0 else {"overview_level": overview}
            try:
                if self.remote is None:
                    opened[overview] = rasterio.open(self._name, **options)
                else:
                    from placevec.sources.remote.opener import Opener, RemoteDataset

                    self._handles.opener = self._handles.__dict__.get("opener") or Opener(self.remote)
                    opened[overview] = RemoteDataset(self._handles.opener, **options)
            except rasterio.errors.RasterioError as error:
                self._check_remote()
                raise FormatError(self._why_not(error)) from None
        return opened[overview]

    def _check_remote(self) -> None:
        """Raise what kept this thread from reading a remote file: GDAL knows at most that something did."""
        opener = self._handles.__dict__.get("opener")
        if opener is not None and opener.failure is not None:
            failure, opener.failure = opener.failure, None
            raise failure

    def _why_not(self, error: Exception) -> str:
        if not self.local:
            return f"{self.href} cannot be read ({_cause(error)}); check the address and the network"
        path = Path(self.href)
        if "://" not in self.href and not self.href.startswith("/vsi"):
            if not path.exists():
                return f"{self.href} does not exist; check the path"
            if path.is_file() and path.stat().st_size == 0:
                return f"{self.href} is empty; fetch it again"
        return f"{self.href} is not a raster that GDAL can read ({_cause(error)})"


def open_reader(href: str, bands: Sequence[int] | None = None, *, refresh: bool = False) -> GdalReader | MosaicReader:
    """Open a raster, or a public one by its name such as dataset:worldcover-2021; see `GdalReader`.

    Raises:
        UsageError: it is the address of a map service.
    """
    if href.startswith(PREFIX):
        return open_named(href, bands, refresh=refresh)
    if is_service(href):
        raise UsageError(f"{href} is a map service: open it with placevec.sources.services.open_service")
    return GdalReader(href, bands, refresh=refresh)


def _bands(href: str, source: Any, wanted: Sequence[int] | None) -> tuple[int, ...]:
    if wanted is None:
        colours = [colour.name for colour in source.colorinterp]
        return tuple(i + 1 for i, colour in enumerate(colours) if colour != "alpha") or (1,)
    if not wanted:
        raise UsageError(f"no band of {href} is asked for; name some of 1 to {source.count}")
    for band in wanted:
        if not 1 <= band <= source.count:
            raise UsageError(f"{href} has no band {band}; it has 1 to {source.count}")
    return tuple(int(band) for band in wanted)


def _six(values: tuple[float, ...]) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = values
    return a, b, c, d, e, f


def _cause(error: BaseException) -> str:
    text = str(error.__cause__ or error).strip().splitlines()
    return text[-1][:160] if text else type(error).__name__
