"""`locate`: where photos or chips were taken, by a locator; guesses are given one by one, in bounded memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from placevec.engine.work import Progress
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.registry import need
from placevec.table import Places, Skipped
from placevec.table.skipped import SkippedSink
from placevec.tasks.inputs import Chips

if TYPE_CHECKING:
    from placevec.encoders.locator import Locator, Shown
    from placevec.results import Guess
    from placevec.sources.base import Source

Take = Callable[["Guess", Mapping[str, Any]], None]
"""Called with each guess and with further facts about it: with `compare`, where the truth lies and how far off."""


@dataclass(frozen=True)
class LocateSummary:
    """What `locate` has done.

    Attributes:
        images: images in = `located` + `skipped`.
        located: guesses.
        skipped: images that could not be read or located; of a file they stand in ``NAME.skipped.parquet``.
        skipped_because: how many for each "stage: reason".
        out: the file, "" where guesses were only handed on.
        median_error_km: with `compare`, of the images whose place is known; None without any.
        seconds: time that it took, without loading the model.
    """

    images: int
    located: int
    skipped: int
    skipped_because: Mapping[str, int] = field(default_factory=dict)
    out: str = ""
    median_error_km: float | None = None
    seconds: float = 0.0

    def some_located(self) -> LocateSummary:
        """This summary; DataError if there were images and none of them could be located."""
        if self.images and not self.located:
            reason = next(iter(self.skipped_because), "no reason is known").partition(": ")[2]
            raise DataError(f"none of the {self.images:,} images could be located: {reason}")
        return self

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def locate(
    source: Source,
    locator: Locator,
    take: Take | None = None,
    *,
    out: str | Path | None = None,
    shown: Shown | None = None,
    batch: int = 32,
    compare: bool = False,
    limit: int | None = None,
    on_skip: Callable[[Skipped], None] | None = None,
    progress: Progress | None = None,
) -> LocateSummary:
    """Say of each image of a source where it was taken.

    Args:
        source: images by "image", see `photos` and `chips_at`. Where their places are known they are never looked at
            but for `compare`.
        locator: see `open_locator`.
        take: is given each guess.
        out: a file for the guesses, see `tasks.locate_forms`; with its list of what was skipped beside it.
        shown: how much of a guess is worked out.
        batch: images read at once.
        compare: whether each guess is held against the known place of its image.
        limit: only the first so many images.
        on_skip: is given each image that could not be located.
        progress: called with images done, all images, and counts.

    Raises:
        UsageError: the ending of `out` says no form, or the locator has not learned cells yet.
    """
    from contextlib import ExitStack

    from placevec.tasks.locate_forms import open_sink

    began = time.monotonic()
    places = source.places()
    count = len(places) if limit is None else min(limit, len(places))
    reasons: Counter[str] = Counter()
    errors: list[float] = []
    done = 0
    with ExitStack() as stack:
        sink = None if out is None else stack.enter_context(open_sink(out))
        lost = None if out is None else stack.enter_context(SkippedSink(out))

        def skip(one: Skipped) -> None:
            reasons[f"{one.stage}: {one.reason}"] += 1
            if lost is not None:
                lost.write([one])
            if on_skip is not None:
                on_skip(one)

        found = locator.locate_rows(
            source,
            np.arange(count),
            shown=shown,
            batch=batch,
            on_skip=skip,
            progress=progress,
        )
        for row, guess in found:
            more = _comparison(places, row, guess) if compare else {}
            if more.get("error_km") is not None:
                errors.append(more["error_km"])
            for each in (take, None if sink is None else sink.write):
                if each is not None:
                    each(guess, more)
            done += 1
    return LocateSummary(
        images=count,
        located=done,
        skipped=sum(reasons.values()),
        skipped_because=dict(reasons.most_common()),
        out="" if out is None else str(out),
        median_error_km=round(float(np.median(errors)), 3) if errors else None,
        seconds=time.monotonic() - began,
    )


def open_locator(model: str | Path, *, point: str | None = None, device: str = "cpu") -> Locator:
    """The locator of a model folder.

    Args:
        model: the folder.
        point: which point stands for the hypotheses, see `encoders.locator.Decoding`; by default as it was trained.
        device: of torch.

    Raises:
        UsageError: the folder is another model, or its training has not come to cells yet; or there is no such point.
        CheckpointError: it is damaged.
    """
    from placevec.encoders.model import read_card

    if not Path(model).is_dir():
        raise UsageError(f"{model} is no folder: give the locator that `placevec train` wrote")
    kind = read_card(model).kind
    if kind != "locator":
        raise UsageError(f"{model} is an encoder of kind {kind!r}, not a locator: train one with objective = 'locate'")
    need("torch", extra="torch", purpose="a locator")
    from placevec.encoders.locator import Locator

    found = Locator.load(model, device)
    found.require_cells()
    return found if point is None else found.decoded(point=point)


def photos(what: Sequence[str | Path], locator: Locator) -> Source:
    """Photos as a locator reads them: files, one folder, or one photo list (.parquet)."""
    from placevec.encoders.locator import open_images

    if not what:
        raise UsageError("what is to be located? give photos, a folder of them, or a photo list")
    return open_images(what[0] if len(what) == 1 else list(what), locator.pixels)


def chips_at(points: LonLat, raster: str, locator: Locator, *, ground_m: float | None, pixels: int | None) -> Source:
    """Chips cut from a raster at points: what a locator that was trained on such chips reads.

    Args:
        points: their middles; each becomes a place named by its coordinates.
        raster: see `tasks.inputs.Chips`.
        locator: says the size of chips where it is not given.
        ground_m: side in metres.
        pixels: side in pixels.
    """
    ids = [f"{lon:.5f},{lat:.5f}" for lon, lat in zip(points.lon, points.lat, strict=True)]
    ground_m, pixels = chip_size(locator, ground_m, pixels)
    return Chips(raster=raster, ground_m=ground_m, pixels=pixels).open(Places.create(ids, points))


def chip_size(locator: Locator, ground_m: float | None, pixels: int | None) -> tuple[float, int]:
    """Side of a chip in metres and in pixels: as given, else as in the training of the locator."""
    recipe = locator.card.recipe
    ground = ground_m if ground_m is not None else recipe.get("ground_m")
    if ground is None:
        raise UsageError("--raster needs --ground, the side of a chip such as 60km: the model's card does not say it")
    side = pixels if pixels is not None else recipe.get("pixels")
    return float(ground), int(side or locator.pixels)


def _comparison(places: Places, row: int, guess: Guess) -> dict[str, Any]:
    lon, lat = float(places.lon[row]), float(places.lat[row])
    if not (np.isfinite(lon) and np.isfinite(lat)):
        return {"truth_lon": None, "truth_lat": None, "error_km": None}
    error = float(distance_m(LonLat.of(lon, lat), guess.point)[0])
    return {"truth_lon": round(lon, 7), "truth_lat": round(lat, 7), "error_km": round(error / 1e3, 3)}
