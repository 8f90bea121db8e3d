"""`train fuse`: a network learns to tell each modality of a hexagon from all the others and from what lies around."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.measure.leaks import labels_of
from placevec.measure.splits import Split, block_split
from placevec.provenance import Saw, SourceRef, inherit_saw
from placevec.tasks.fuse_inputs import Modalities, Tables, edges_of, parse_levels, read_modalities
from placevec.tasks.settings import laid_over

if TYPE_CHECKING:
    from placevec.tasks.train import TrainSummary
    from placevec.train.fuse import FuseArea

Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Supervision:
    """Targets that a fuser may learn from, and those of their cells that it must not see.

    Attributes:
        labels: a table, CSV or file of `placevec area targets` with the targets, matched by id.
        targets: its columns.
        fold: of the split into `folds` blocks, the one that is kept for a test.
        folds: how many.
        block: the blocks.
        seed: of the split.
        buffer_m: metres around test cells without labels.
        log1p: targets of which ln(1 + x) is learned.
    """

    labels: str | Path
    targets: tuple[str, ...]
    fold: int
    folds: int = 5
    block: str = ""
    seed: int = 0
    buffer_m: float = 0.0
    log1p: tuple[str, ...] = ()


def train_fuse(
    tables: Tables,
    out: Path,
    settings: Mapping[str, Any],
    run: Path,
    *,
    levels: str | Sequence[int] | None = None,
    graphs: Sequence[str | Path] = (),
    block: str | None = None,
    folds: int = 10,
    supervision: Supervision | None = None,
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Report | None = None,
) -> TrainSummary:
    """Train a fuser on the tables of modalities and write its folder.

    Args:
        tables: of the modalities, by name.
        out: the model folder.
        settings: of `train.fuse.FuseTraining`, as JSON.
        run: folder of the run.
        levels: H3 resolutions, the finest that of the tables; by default that and the two above.
        graphs: files of accessibility graphs, for the weights between neighbours.
        block: blocks of the validation, by default the cells of the coarsest level: of one of `folds` parts of them
            nothing is asked in training, and how well it is told chooses the weights.
        folds: 0: nothing is held out, and the last weights are kept.
        supervision: targets to learn from, besides.
        untrained: where to write the same network before its first step.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.

    Raises:
        UsageError: a setting is not known, or options contradict each other.
        SchemaError, DataError: tables that do not fit together, see `fuse_inputs.read_modalities`.
        CheckpointError: the run folder belongs to a run with other settings.
    """
    from placevec.encoders.fuser import ModalityShape
    from placevec.tasks.train import TrainSummary
    from placevec.train.fuse import FuseTraining, train_fuser
    from placevec.train.objectives import first_process

    config = FuseTraining.from_json(laid_over(FuseTraining().to_json(), dict(settings)))
    given = read_modalities(tables)
    if len(given.tables) < 2:
        raise UsageError("one modality is nothing to fuse: give --modality NAME=TABLE at least twice")
    resolutions = parse_levels(levels, given.resolution)
    area = area_of(given, resolutions, graphs)
    shapes = tuple(
        ModalityShape(name, table.meta.dims, table.space.id, table.dims, form_of(table))
        for name, table in given.tables.items()
    )
    order = area.levels.order
    held = np.zeros(len(order), dtype=bool)
    notes = []
    if folds:
        held, note = _held(given, block or f"h3:{resolutions[-1]}", folds)
        notes += [note] if note else []
    labels, saw = (None, ()) if supervision is None else _labels(supervision, given)
    if supervision is not None and labels is not None:
        stay = f"those of fold {supervision.fold} of {supervision.folds} and around it stay unseen"
        told = np.isfinite(labels.values).sum(axis=0).tolist()
        notes += [f"learns {name} from {n:,} cells: {stay}" for name, n in zip(labels.names, told, strict=True)]
    taken = None if labels is None else replace(labels, values=labels.values[order])
    sources = tuple(dict.fromkeys(source for table in given.tables.values() for source in table.meta.sources))
    made = train_fuser(
        area,
        shapes,
        held[order],
        config,
        run,
        labels=taken,
        progress=progress,
        restart=restart,
        recipe={"levels": list(resolutions), "graphs": [Path(graph).name for graph in graphs]},
        sources=tuple(one for one in sources if isinstance(one, SourceRef)),
        parents=tuple(table.fingerprint() for table in given.tables.values()),
        saw=inherit_saw(*(labels_of(table.meta.saw, table.meta.dims) for table in given.tables.values()), saw),
    )
    if first_process():
        made.fuser.save(out)
        if untrained is not None:
            made.untrained.save(untrained)
    notes += [f"no {name} in {count:,} of {len(order):,} cells" for name, count in given.absent().items()]
    return TrainSummary(
        out,
        "fuse",
        made.fuser.space.id,
        made.fuser.dims,
        int((~held).sum()),
        int(held.sum()),
        0,
        dict(made.result.metrics),
        notes=tuple(notes),
    )


def area_of(given: Modalities, resolutions: Sequence[int], graphs: Sequence[str | Path] = ()) -> FuseArea:
    """The modalities as a fusion network reads them."""
    from placevec.train.fuse import fuse_area

    return fuse_area(
        given.cells,
        [given.values(name) for name in given.tables],
        resolutions,
        (lambda levels: edges_of(graphs, levels)) if graphs else None,
    )


def form_of(table: Any) -> Any:
    """How a network reads a table: "bins" where each column means something of its own, else "values"."""
    return "bins" if table.meta.dims and table.space.metric == "l2" else "values"


def _held(given: Modalities, block: str, folds: int) -> tuple[NDArray[np.bool_], str]:
    """The cells of the first fold, and a note where there are too few blocks for folds."""
    try:
        split = block_split(given.lonlat, block, folds, 0)
    except DataError as error:
        return np.zeros(len(given.cells), dtype=bool), f"nothing is held out for validation: {error}"
    return split.fold == 0, ""


def split_of(supervision: Supervision, given: Modalities, block: str) -> Split:
    """The split whose test fold a supervised fuser must not see."""
    return block_split(given.lonlat, block, supervision.folds, supervision.seed, supervision.buffer_m)


def _labels(supervision: Supervision, given: Modalities) -> tuple[Any, tuple[Saw, ...]]:
    """The targets (n, t) in the order of the cells, NaN outside of training blocks; and what was seen."""
    from placevec.tasks.probe_inputs import label_places
    from placevec.train.fuse import Labels

    if not supervision.targets:
        raise UsageError("--labels says where targets stand: name one at least, --target COLUMN")
    if not 0 <= supervision.fold < supervision.folds:
        raise UsageError(f"there is no fold {supervision.fold}: the folds are 0 to {supervision.folds - 1}")
    for name, table in given.tables.items():
        seen = {saw.column for saw in labels_of(table.meta.saw, table.meta.dims)}
        twice = next((target for target in supervision.targets if target in seen), None)
        if twice is not None:
            raise UsageError(f"the table of {name} holds {twice!r} already: a target is not told from itself")
    joined = label_places(supervision.labels)
    rows = _matched(joined, given)
    split = split_of(supervision, given, supervision.block or f"h3:{max(given.resolution - 2, 0)}")
    train, _ = split.pair(supervision.fold)
    may = np.zeros(len(given.cells), dtype=bool)
    may[train] = True
    columns = []
    for target in supervision.targets:
        if not joined.has(target):
            raise UsageError(f"{target!r} is no column of {supervision.labels}: it has {', '.join(joined.attributes)}")
        values = joined.column(target).astype(np.float64)
        values = np.log1p(values) if target in supervision.log1p else values
        columns.append(np.where(may & (rows >= 0), values[np.maximum(rows, 0)], np.nan))
    folds = tuple(fold for fold in range(supervision.folds) if fold != supervision.fold)
    saw = tuple(Saw("", target, split.spec, folds) for target in supervision.targets)
    return Labels(supervision.targets, np.stack(columns, axis=1).astype(np.float32)), saw


def _matched(labels: Any, given: Modalities) -> NDArray[np.int64]:
    """The row (n,) of each cell in a file of labels, -1 where it has none."""
    ids = {text: row for row, text in enumerate(labels.ids.tolist())}
    rows = np.array([ids.get(text, -1) for text in given.places.ids.tolist()], dtype=np.int64)
    if (rows < 0).all():
        raise DataError("the labels have no id in common with the tables: bring them with `placevec area targets`")
    return rows
