"""Training one encoder: of images without any label, or of locations against the vectors of tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.splits import block_split, holdout
from placevec.provenance import inherit_saw
from placevec.table import EmbeddingTable, StoredTable, open_table
from placevec.tasks.inputs import Input
from placevec.tasks.reading import read_images
from placevec.tasks.settings import laid_over

if TYPE_CHECKING:
    from placevec.tasks.train import Objective, Report, Table, TrainSummary


def train_images(
    input: Input,
    out: Path,
    settings: dict[str, Any],
    run: Path,
    *,
    rule: tuple[str, int, float | None],
    untrained: str | Path | None,
    restart: bool,
    progress: Report | None,
) -> TrainSummary:
    """An image encoder, from chips without labels.

    Args:
        input: places and chips.
        out: the model folder.
        settings: of `train.selfsup.ImageTraining`, as JSON.
        run: folder of the run.
        rule: block, folds and buffer in metres of the validation split; no buffer: the width of a chip's ground.
        untrained: where to write the network before its first step.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.
    """
    from placevec.encoders.image import ImageEncoder
    from placevec.train.objectives import first_process
    from placevec.train.selfsup import ImageTraining, train_image

    assert input.chips is not None
    read = read_images(input.source(), "train on fewer places (limit) or smaller chips")
    chips, rows = read.images, read.rows
    network = {"bands": chips.shape[1], **settings.pop("net", {})}
    given = settings.pop("encoder", {})
    encoder = {**given, "net": {**network, **given.get("net", {})}}
    training = ImageTraining.from_json(laid_over(ImageTraining().to_json(), {**settings, "encoder": encoder}))
    places = input.places()
    keep, val = _validation(places.lonlat(rows), places.keys[rows], *_default(rule, input.chips.ground_m))
    # Arrays in memory are sliced once; the rows left out are those within the buffer of the validation blocks.
    made = train_image(
        chips[keep],
        val[keep],
        training,
        run,
        progress=progress,
        restart=restart,
        sources=input.sources(),
    )
    if first_process():
        made.encoder.save(out)
        if untrained is not None:
            ImageEncoder.untrained(training.encoder, training.loop.seed, chips[keep & ~val]).save(untrained)
    return _summary(out, "image", made.encoder, keep, val, made.result.metrics)


def train_locations(
    given: Table | Sequence[Table],
    out: Path,
    settings: dict[str, Any],
    run: Path,
    *,
    rule: tuple[str, int, float | None],
    untrained: str | Path | None,
    restart: bool,
    progress: Report | None,
) -> TrainSummary:
    """A location encoder against the vectors of tables, and what brings those into its Space.

    Args:
        given: vectors with coordinates; several tables are joined on their ids.
        out: the model folder.
        settings: of `train.contrastive.LocationTraining`, as JSON.
        run: folder of the run.
        rule: block, folds and buffer in metres of the validation split; no buffer: the width of a chip's ground.
        untrained: where to write the network before its first step.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.
    """
    from placevec.encoders.location import LocationEncoder
    from placevec.train.contrastive import LocationTraining, join_tables, train_location
    from placevec.train.objectives import first_process

    tables = _named(given)
    encoder = dict(settings.pop("encoder", {}))
    encoder.setdefault("dims", _dims(list(tables.values())))
    training = LocationTraining.from_json(laid_over(LocationTraining().to_json(), {**settings, "encoder": encoder}))
    joined = join_tables(tables, training.captions)
    ground = max(float((table.meta.chip_layout or {}).get("ground_m", 0.0)) for table in tables.values())
    keep, val = _validation(joined.lonlat, joined.keys, *_default(rule, ground))
    used = joined.take(np.flatnonzero(keep))
    made = train_location(
        used.lonlat,
        used.tables,
        val[keep],
        training,
        run,
        captions=used.captions,
        progress=progress,
        restart=restart,
        sources=tuple(dict.fromkeys(source for table in tables.values() for source in table.meta.sources)),
        saw=inherit_saw(*(table.meta.saw for table in tables.values())),
        parents=tuple(table.fingerprint() for table in tables.values()),
    )
    summary = _summary(out, "location", made.encoder, keep, val, made.result.metrics)
    if not first_process():
        return summary
    made.encoder.save(out)
    if untrained is not None:
        # With the frame that the training places gave.
        LocationEncoder.untrained(made.encoder.config, training.loop.seed).save(untrained)
    for name, image in made.learned.items():
        # Image vectors enter the Space through these projections only.
        image.save(out.with_name(f"{out.name}-image" if len(tables) == 1 else f"{out.name}-image-{name}"))
    if made.text is not None:
        made.text.save(out.with_name(f"{out.name}-text"))
    return summary


def _named(given: Table | Sequence[Table]) -> dict[str, EmbeddingTable]:
    """The tables by name: the stem of the file, or the tower of a table in memory; made different by a number."""
    tables = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not tables:
        raise UsageError("a location encoder learns from vectors: give a table")
    named: dict[str, EmbeddingTable] = {}
    for table in tables:
        if isinstance(table, EmbeddingTable):
            read, name = table, table.meta.tower or "table"
        else:
            stored = _open(table)
            read, name = stored.read(), Path(stored.path).stem
        # Names become parts of file names.
        plain = re.sub(r"[^\w-]+", "-", name).strip("-") or "table"
        count = 1
        while (own := plain if count == 1 else f"{plain}-{count}") in named:
            count += 1
        named[own] = read
    return named


def _dims(tables: Sequence[EmbeddingTable]) -> int:
    """The dims of an encoder that nobody named: those of tables in one Space, or the most of any, up to 256."""
    if all(table.space.id == tables[0].space.id for table in tables):
        return tables[0].dims
    return min(256, max(table.dims for table in tables))


def _default(rule: tuple[str, int, float | None], ground_m: float) -> tuple[str, int, float]:
    block, folds, buffer_m = rule
    return block, folds, ground_m if buffer_m is None else buffer_m


def _validation(
    lonlat: LonLat, keys: NDArray[Any], block: str, folds: int, buffer_m: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are used at all, and which of all rows are for validation: one fold of blocks, with a buffer."""
    learn, val = holdout(block_split(lonlat, block, folds, 0, buffer_m, groups=keys, strays="drop"))
    return learn | val, val


def _summary(
    out: Path,
    objective: Objective,
    encoder: Any,
    keep: NDArray[np.bool_],
    val: NDArray[np.bool_],
    scores: Mapping[str, float],
) -> TrainSummary:
    from placevec.tasks.train import TrainSummary

    used = int(keep.sum() - val.sum())
    return TrainSummary(
        out, objective, encoder.space.id, encoder.dims, used, int(val.sum()), int((~keep).sum()), dict(scores)
    )


def _open(table: str | Path | StoredTable) -> StoredTable:
    return table if isinstance(table, StoredTable) else open_table(table)
