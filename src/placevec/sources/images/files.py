"""Image files as a source: a folder or a list of them, read in batches by several threads."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import DataError, FormatError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.base import Batch, Rows, check_rows
from placevec.sources.images.decode import MAX_PIXELS, SUFFIXES, check_bands, load
from placevec.sources.images.locate import position
from placevec.sources.images.resize import Fit, bands_of, check_size, resized, small
from placevec.sources.images.stretch import Stretch, check_stretch
from placevec.table import Places, Skipped

_MOST_THREADS = 8


class ImageFiles:
    """A Source of image files; a file that cannot be read is skipped with the reason.

    It pickles, so that worker processes are given the list of files as it was found, whatever the folder holds by
    then.

    Args:
        where: a folder, searched with all folders in it for files of the endings `SUFFIXES` (hidden ones are left
            out), in order of their names; or files.
        pixels: side of the square that images are made.
        bands: see `read_image`; all images have to have the same number of bands.
        stretch: see `read_image`.
        fit: "squash" or "crop", see `resized`.
        max_pixels: see `read_image`.
        ids: names of the files; by default their paths below the folder (of a list: below the folder they share).
        lonlat: (n, 2) longitude and latitude in degrees of the images, NaN where unknown; by default what GeoTIFFs
            and EXIF data say.
        attributes: further columns of the places, one value for each file.
        refs: where the images come from, for provenance.
        threads: how many images are decoded at once; by default one for each processor, eight at most.

    Raises:
        UsageError: there is no image, a file is named twice, or an option is none.
    """

    def __init__(
        self,
        where: str | Path | Sequence[str | Path],
        *,
        pixels: int = 224,
        bands: Sequence[int] | None = None,
        stretch: Stretch = "auto",
        fit: Fit = "squash",
        max_pixels: int = MAX_PIXELS,
        ids: Sequence[str] | NDArray[Any] | None = None,
        lonlat: NDArray[np.float64] | None = None,
        attributes: Mapping[str, Any] | None = None,
        refs: Sequence[SourceRef] = (),
        threads: int | None = None,
    ) -> None:
        check_size(pixels, fit)
        check_bands(bands)
        self.pixels = int(pixels)
        self.bands = None if bands is None else tuple(int(band) for band in bands)
        self.stretch = check_stretch(stretch)
        self.fit: Fit = fit
        self.max_pixels = int(max_pixels)
        self.threads = threads or min(_MOST_THREADS, _processors())
        self.refs = tuple(refs)
        self.files, self.names = _listed(where)
        self._ids = self.names if ids is None else [str(name) for name in ids]
        self._lonlat = lonlat
        self._attributes = dict(attributes or {})

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"ImageFiles({len(self):,} files, {self.pixels} pixels)"

    def places(self) -> Places:
        """One row a file: `id` and `place` its name, `asset` its path, `file`, and the given attributes.

        The geometry is the centre of a georeferenced image or the position of the camera, null where unknown.
        """
        return self._places

    @cached_property
    def _places(self) -> Places:
        points = self._lonlat
        if points is None:
            found = self._each(position, self.files)
            points = np.array([(np.nan, np.nan) if at is None else at for at in found]).reshape(-1, 2)
        known = np.isfinite(points).all(axis=1)
        geometry = np.full(len(self), None, dtype=object)
        geometry[known] = shapely.points(points[known])
        return Places.create(
            self._ids,
            geometry=geometry,
            place=np.array(self._ids, dtype=object),
            asset=np.array([str(path) for path in self.files], dtype=object),
            attributes={"file": np.array(self.names, dtype=object), **self._attributes},
        )

    @cached_property
    def count(self) -> int:
        """Bands of the images: as many as asked for, or as the first image has that can be read; 3 without any."""
        if self.bands is not None:
            return len(self.bands)
        for path in self.files:
            try:
                return len(self._image(path))
            except DataError:
                continue
        return 3

    def read(self, rows: Rows) -> Batch:
        """The images of `rows`: "image" (m, bands, pixels, pixels) uint8."""
        rows = check_rows(rows, len(self))
        if not len(rows):
            return Batch(rows, {"image": np.empty((0, self.count, self.pixels, self.pixels), dtype=np.uint8)})
        images = np.empty((len(rows), self.count, self.pixels, self.pixels), dtype=np.uint8)
        reasons = self._each(lambda at: self._into(images, at, int(rows[at])), range(len(rows)))
        kept = [i for i, reason in enumerate(reasons) if reason is None]
        skipped = [Skipped(self._ids[rows[i]], "image", reason) for i, reason in enumerate(reasons) if reason]
        if len(kept) == len(rows):
            return Batch(rows, {"image": images})
        return Batch(rows[kept], {"image": images[kept]}, skipped)

    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and times of change, and of what is made of them."""
        digest = hashlib.sha256()
        settings = (self.pixels, self.bands, self.stretch, self.fit, self.max_pixels)
        digest.update(repr(settings).encode())
        for name, path in zip(self._ids, self.files, strict=True):
            try:
                status = path.stat()
                digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode())
            except OSError:
                digest.update(repr((name, "absent")).encode())
        return digest.hexdigest()

    def _image(self, path: Path) -> NDArray[np.uint8]:
        # Decoded at twice the size that is wanted, a JPEG looks the same as at its own when it is made small.
        image = load(path, self.bands, self.stretch, self.max_pixels, 2 * self.pixels)
        if isinstance(image, np.ndarray):
            return resized(image, self.pixels, self.fit)
        return bands_of(small(image, self.pixels, self.fit))

    def _into(self, images: NDArray[np.uint8], at: int, row: int) -> str | None:
        """Read the image of a row to its place; the reason where that cannot be."""
        try:
            image = self._image(self.files[row])
        except FormatError as error:
            return str(error)
        if len(image) != images.shape[1]:
            return f"it has {len(image)} bands, the first image has {images.shape[1]}: name the bands to be read"
        images[at] = image
        return None

    def _each(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        # Pillow and GDAL let other threads run while they decode.
        if self.threads == 1 or len(items) < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(min(self.threads, len(items))) as pool:
            return list(pool.map(function, items))


def _listed(where: str | Path | Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """The files and their names: paths below the folder that holds them all."""
    if isinstance(where, str | Path):
        folder = Path(where)
        if folder.is_dir():
            files = _below(folder)
            if not files:
                raise UsageError(f"{where} holds no image: files that end in {', '.join(SUFFIXES)} are looked for")
            return files, [path.relative_to(folder).as_posix() for path in files]
        if not folder.exists():
            raise UsageError(f"{where} does not exist; give a folder of images, or image files")
        return [folder], [folder.name]
    files = [Path(path) for path in where]
    if not files:
        raise UsageError("no image is named; give a folder of images, or image files")
    whole = [os.path.normpath(path.absolute()) for path in files]  # links stay as they are
    if len(set(whole)) < len(whole):
        twice = Counter(whole).most_common(1)[0][0]
        raise UsageError(f"{twice} is named twice; name each image once")
    shared = Path(os.path.commonpath([Path(path).parent for path in whole]))
    return files, [Path(path).relative_to(shared).as_posix() for path in whole]


def _below(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _processors() -> int:
    # Where a process is bound to some processors (containers, job schedulers), the others are not for it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
