"""Locating: guesses one by one, for photos by path, folders, lists, sources and arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded
from placevec.encoders.locator.guesses import Shown
from placevec.encoders.locator.prediction import Prediction
from placevec.encoders.locator.reading import LIST, batches, lost, open_images, square
from placevec.errors import DataError, FormatError, UsageError
from placevec.results import Guess
from placevec.sources.base import ArraySource, Batch, Source
from placevec.sources.images import Fit
from placevec.table import Places, Skipped

Rows = NDArray[np.int64]
OnSkip = Callable[[Skipped], None]
Progress = Callable[[int, int, Mapping[str, Any]], None]
What = str | Path | NDArray[Any] | Source | Sequence[str | Path]
"""A photo, a folder, a photo list (.parquet), several photos, a source of images, or an array of them."""


class Locates(Carded, ABC):
    """The part of a locator that reads images and hands out guesses."""

    fit: ClassVar[Fit] = "crop"
    """How photos become squares, see `sources.images.resized`: what is upright and round has to stay so."""

    @property
    @abstractmethod
    def pixels(self) -> int:
        """Side of the images at which it works best."""

    @property
    @abstractmethod
    def reads_camera(self) -> bool:
        """Whether it makes use of what cameras write beside a photo."""

    @abstractmethod
    def require_cells(self) -> None:
        """UsageError if it cannot locate yet."""

    @abstractmethod
    def predict(
        self, data: Mapping[str, NDArray[Any]], true_cells: Rows | None = None, *, batch: int | None = None
    ) -> Prediction:
        """Where images were taken."""

    @abstractmethod
    def guesses(self, prediction: Prediction, ids: Sequence[str], shown: Shown | None = None) -> Iterator[Guess]:
        """The images of a prediction as guesses."""

    def locate(
        self,
        what: What,
        *,
        shown: Shown | None = None,
        batch: int = 32,
        on_skip: OnSkip | None = None,
        progress: Progress | None = None,
    ) -> Guess | Iterator[Guess]:
        """Where images were taken: a guess for the path of a photo or an array (bands, h, w), else `locate_many`.

        Raises:
            UsageError: see `require_cells`; or there is no such photo.
            FormatError: the one photo cannot be read.
        """
        if isinstance(what, np.ndarray) and what.ndim == 3:
            return self.locate_one(what, shown=shown)
        if isinstance(what, str | Path) and Path(what).suffix != LIST and not Path(what).is_dir():
            return self.locate_one(what, shown=shown)
        return self.locate_many(what, shown=shown, batch=batch, on_skip=on_skip, progress=progress)

    def locate_one(self, photo: str | Path | NDArray[Any], *, shown: Shown | None = None) -> Guess:
        """Where one image was taken, by its path or as an array (bands, h, w) uint8; see `locate`.

        It goes through the network alone: the answer is that of `locate_many` but for the last digits.
        """
        self.require_cells()
        if isinstance(photo, np.ndarray):
            return next(self.guesses(self.predict({"image": square(photo[None])}, batch=1), [""], shown))
        source = self.open(photo)
        found = source.read(np.arange(1))
        if not len(found):
            raise FormatError(f"{photo}: {found.skipped[0].reason if found.skipped else 'it cannot be read'}")
        return next(self.guesses(self.predict(found.data, batch=1), [str(source.places().ids[0])], shown))

    def locate_many(
        self,
        what: What,
        *,
        shown: Shown | None = None,
        batch: int = 32,
        on_skip: OnSkip | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Guess]:
        """Where images were taken, one after the other, in bounded memory.

        Args:
            what: a folder of photos, a photo list (.parquet), several paths, a source with "image", or an array
                (n, bands, h, w) uint8.
            shown: how much of a guess is worked out.
            batch: images read at once.
            on_skip: is given each image that cannot be read or located.
            progress: called with images done, all of them, and counts.
        """
        source = self.open(what)
        rows = np.arange(len(source.places()))
        found = self.locate_rows(source, rows, shown=shown, batch=batch, on_skip=on_skip, progress=progress)
        return (guess for _, guess in found)

    def locate_rows(
        self,
        source: Source,
        rows: Rows,
        *,
        shown: Shown | None = None,
        batch: int = 32,
        on_skip: OnSkip | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Guess]]:
        """The guesses for rows of a source, each with its row, in order; see `locate_many`."""
        self.require_cells()
        if batch < 1:
            raise UsageError(f"{batch} images cannot be read at once; give at least 1")
        places = source.places()
        done = skipped = 0
        for asked, content in batches(source, rows, batch):
            if progress is not None:
                progress(done + skipped, len(rows), {"located": done, "skipped": skipped})
            gone = lost(places, asked, content)
            for row, guess in self._each(content, places.ids, shown, gone):
                done += 1
                yield row, guess
            skipped += len(gone)
            for one in gone:
                if on_skip is not None:
                    on_skip(one)
        if progress is not None:
            progress(done + skipped, len(rows), {"located": done, "skipped": skipped})

    def open(self, what: What) -> Source:
        """Images as a source, photos cut to the square in their middle at the side that suits; see `locate_many`."""
        if isinstance(what, Source):
            return what
        if isinstance(what, np.ndarray):
            images = square(what)
            return ArraySource(Places.create([str(row) for row in range(len(images))]), {"image": images})
        return open_images(what, self.pixels, camera=self.reads_camera)

    def _each(
        self, content: Batch, ids: NDArray[Any], shown: Shown | None, gone: list[Skipped]
    ) -> Iterator[tuple[int, Guess]]:
        """The guesses for what was read; what cannot be located is added to `gone`."""
        if not len(content):
            return
        try:
            found = self.predict(content.data)
        except DataError as error:
            if len(content) == 1:
                gone.append(Skipped(str(ids[content.rows[0]]), "locate", str(error)))
                return
            # One image spoils its batch: find it, keep the others.
            for at in range(len(content)):
                part = {name: values[at : at + 1] for name, values in content.data.items()}
                yield from self._each(Batch(content.rows[at : at + 1], part), ids, shown, gone)
            return
        names = [str(ids[row]) for row in content.rows]
        yield from zip(content.rows.tolist(), self.guesses(found, names, shown), strict=True)
