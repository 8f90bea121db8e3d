"""`data photos`: a photo list from a folder, a list, a public collection, or chips of a raster; and what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.files import write_text
from placevec.geo.regions import Regions
from placevec.measure.parallel import workers
from placevec.sources.photos import (
    Columns,
    Found,
    PhotoCard,
    PhotoReport,
    QualityRules,
    chips,
    folder_of_photos,
    layout_of_photos,
    photo_report,
    sift,
    table_of_photos,
    write_photo_list,
)
from placevec.sources.photos.grouping import By
from placevec.sources.photos.look import OF_CHIPS, Indoor
from placevec.table import write_skipped
from placevec.tasks.photos_page import photos_markdown

if TYPE_CHECKING:
    from placevec.tasks.inputs import Input

Progress = Callable[[int, int, Mapping[str, Any]], None]

_MOST_THREADS = 8


@dataclass(frozen=True)
class PhotosSummary:
    """What `photos` has made."""

    out: Path  # the photo list; skipped photos stand in NAME.skipped.parquet beside it
    report: PhotoReport  # photos in = kept + skipped
    page: Path | None  # the report as JSON; as Markdown beside it
    notes: tuple[str, ...]  # for people

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {"out": str(self.out), **self.report.to_record()}


def photos(
    where: str | Path | Input,
    out: str | Path,
    *,
    layout: str | None = None,
    columns: Columns | None = None,
    images: str | Path | None = None,
    landmarks: str | Path | None = None,
    regions: Regions | None = None,
    rules: QualityRules | None = None,
    metres: float = 25.0,
    by: By = "near",
    together: Sequence[Sequence[str]] = (),
    scenes: str | Path | None = None,
    report: str | Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> PhotosSummary:
    """Write the list of the photos that can be used, those that cannot beside it, and a report.

    Nothing is written before all photos are looked at, and every file appears whole or not at all.

    Args:
        where: a folder of photos with EXIF positions; a list of them, see `table_of_photos`; the metadata of a public
            collection, with `layout`; or an Input with a raster, whose chips are checked as photos are.
        out: the photo list, a Parquet file.
        layout: "flickr", "gldv2" or "osv5m".
        columns: the names of the columns of a list.
        images: the folder of the files that a list names.
        landmarks: of gldv2, a CSV of coordinates by landmark.
        regions: the area; photos outside are skipped.
        rules: of the quality; by default those of `default_rules`.
        metres: photos within so many metres share a `place`.
        by: "near", or "h3" for cells of resolution 12; see `place_keys`.
        together: columns; photos that agree in all columns of one set share a `place`, such as ("user", "taken").
        scenes: a model of scenes that knows which are indoors; photos taken indoors are skipped.
        report: a JSON file of the report; Markdown beside it.
        threads: how many images are decoded at once; by default one for each processor, eight at most.
        progress: told the photos done, their number, and how many were kept and skipped so far.

    Raises:
        UsageError: options do not go together, or there is no such folder.
        FormatError: a file is not what its name says.
        SchemaError: a column is absent.
        DataError: no photo can be used; the reasons are written nevertheless.
    """
    goal = Path(out)
    if goal.suffix != ".parquet":
        raise UsageError(f"{out}: a photo list is a Parquet file, and its name ends in .parquet")
    if report is not None and Path(report).suffix != ".json":
        raise UsageError(f"{report}: the report is a JSON file, with a page .md beside it: end its name in .json")
    rules = rules or default_rules(where)
    found = _found(where, layout, columns, images, landmarks)
    sifted = sift(
        found,
        rules,
        regions=regions,
        metres=metres,
        by=by,
        together=together,
        indoor=None if scenes is None else indoor_of(scenes),
        threads=threads or min(_MOST_THREADS, workers()),
        progress=progress,
    )
    held = photo_report(sifted.places, sifted.skipped, regions)
    if not len(sifted.places):
        write_skipped(goal, sifted.skipped)
        because = next(iter(held.skipped_because), "there is none")
        raise DataError(
            f"none of the {sifted.found:,} photos of {found.where} can be used ({because}); all reasons stand in "
            f"{goal.stem}.skipped.parquet"
        )
    settings = {**asdict(rules), "metres": metres, "by": by, "together": [list(names) for names in together]}
    names = () if regions is None else regions.names
    write_photo_list(sifted.places, goal, skipped=sifted.skipped, card=PhotoCard(0, {}, names, settings, found.refs))
    notes = (*found.notes, *(f"{count:,} photos skipped: {why}" for why, count in held.skipped_because.items()))
    made = PhotosSummary(goal, held, None if report is None else Path(report), (*notes, *held.warnings))
    if report is not None:
        record = {"where": found.where, "settings": settings, **made.to_record()}
        write_text(report, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(Path(report).with_suffix(".md"), photos_markdown(held, found.where))
    return made


def default_rules(where: str | Path | Input) -> QualityRules:
    """The quality that photos have to have, or chips of a raster."""
    return QualityRules() if isinstance(where, str | Path) else OF_CHIPS


def indoor_of(folder: str | Path) -> Indoor:
    """What judges whether photos were taken indoors: a model of scenes, such as Places365's.

    Raises:
        UsageError: the folder holds another model, or one that does not know which scenes are indoors.
    """
    from placevec.encoders.model import load_encoder

    encoder = load_encoder(folder)
    judge = getattr(encoder, "indoor", None)
    if not callable(judge):
        raise UsageError(
            f"{folder} holds an encoder of kind {encoder.card.kind}, which knows no scenes: give what "
            "`placevec import --as places365` wrote"
        )

    def indoor(images_: NDArray[np.uint8]) -> NDArray[Any]:
        return np.asarray(judge({"image": images_}), dtype=np.float64)

    return indoor


def _found(
    where: str | Path | Input,
    layout: str | None,
    columns: Columns | None,
    images: str | Path | None,
    landmarks: str | Path | None,
) -> Found:
    if not isinstance(where, str | Path):
        odd = [name for name, value in (("layout", layout), ("images", images)) if value is not None]
        if odd:
            raise UsageError(f"--{odd[0]} is for photo files, and chips of a raster are read: leave it out")
        return _chips(where)
    if layout is not None:
        return layout_of_photos(where, layout, images=images, landmarks=landmarks, columns=columns)
    if landmarks is not None:
        raise UsageError("--landmarks is for the layout gldv2: give --layout gldv2, or leave it out")
    if Path(where).is_dir():
        if images is not None:
            raise UsageError(f"--images is for a list of photos, and {where} is a folder of them: leave it out")
        if columns is not None and columns != Columns():
            raise UsageError(f"{where} is a folder of photos, which has no columns: leave out their names")
        return folder_of_photos(where)
    if not Path(where).exists():
        raise UsageError(f"{where} does not exist; give a folder of photos, or a list of them")
    return table_of_photos(where, columns, images=images)


def _chips(given: Input) -> Found:
    from placevec.tasks.inputs import InputSource

    if given.chips is None:
        raise UsageError("chips of which raster? give --raster, with --ground and --pixels")
    return chips(InputSource(given), given.chips.raster, given.sources())
