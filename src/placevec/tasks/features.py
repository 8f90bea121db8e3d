"""`area features`: the table of one modality over the cells of an area, and beside it the cells it knows nothing of."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.area import StudyArea
from placevec.config import nearest
from placevec.errors import DataError, UsageError
from placevec.features.modality import CellFeatures, Told
from placevec.files import remove
from placevec.geo.cells import are_cells
from placevec.provenance import Space, digest_json
from placevec.table import EmbeddingTable, Skipped, write_skipped, write_table
from placevec.tasks.inputs import cell_places
from placevec.tasks.modalities.base import Modality
from placevec.tasks.modality_settings import modality_of, name_of_modality, settings_of

_LOG = re.compile(r"^log1p\((.+)\)$")  # a column that holds ln(1 + x) of what stands within
STAGE = "features"  # of a cell of which a modality knows nothing, in NAME.skipped.parquet


@dataclasses.dataclass(frozen=True)
class FeaturesSummary:
    """What became of a modality.

    Attributes:
        modality: its name.
        path: the table.
        resolution: of the cells, H3's.
        rows: cells with features.
        absent: cells of which the modality knows nothing.
        dims: columns.
        seconds: it took.
        notes: lines for people.
    """

    modality: str
    path: Path
    resolution: int
    rows: int
    absent: int
    dims: int
    seconds: float
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**dataclasses.asdict(self), "path": str(self.path), "notes": list(self.notes)}


def cell_features(
    modality: str | Modality,
    out: str | Path | None = None,
    *,
    area: str | Path | StudyArea | None = None,
    cells: ArrayLike | None = None,
    resolution: int | None = None,
    options: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    told: Told | None = None,
) -> FeaturesSummary:
    """Write the features of cells as an EmbeddingTable, and NAME.skipped.parquet for the cells that have none.

    Args:
        modality: a name of the registry, with its `options`; or a modality that is made already.
        out: a .parquet or .lance; by default tables/NAME.parquet of the area.
        area: a study area or its folder: its cells are meant.
        cells: (n,) H3 cells of one resolution; or give `area`.
        resolution: of the area's cells; by default the area's own.
        options: fields of the modality, as texts or JSON; see `modality_settings.modality_of`.
        only: the columns that are kept, "log1p(x)" also as "x"; by default all.
        told: of progress.

    Raises:
        UsageError: no modality has the name, an option or a column is unknown, or there are no cells.
        DataError: the modality knows nothing of any cell.
    """
    began = time.monotonic()
    if isinstance(modality, Modality):
        if options:
            raise UsageError("options are for a modality that is given by its name: set them on the modality itself")
        made, name = modality, name_of_modality(modality)
    else:
        made, name = modality_of(modality, options or {}), modality
    place = StudyArea.open(area) if isinstance(area, str | Path) else area
    own, level = _cells(place, cells, resolution)
    goal = _goal(out, place, name)
    scratch = goal.with_name(f"{goal.name}.run")
    found = _kept(made.compute_in(scratch, own, told), only, name)
    if len(found.present) != len(own):
        raise DataError(f"the modality {name!r} answered with {len(found.present)} rows for {len(own)} cells")
    if not found.present.any():
        raise DataError(f"{name} knows nothing of any of the {len(own):,} cells: {found.absent or 'no reason given'}")
    write_table(table_of(made, name, own, level, found), goal)
    reason = found.absent or "nothing is known of it"
    write_skipped(goal, (Skipped(f"{int(cell):x}", STAGE, reason) for cell in own[~found.present]))
    remove(scratch)
    absent = int((~found.present).sum())
    have = "cell has" if absent == 1 else "cells have"
    notes = (*found.notes, *([f"{absent:,} {have} no row: {reason}"] if absent else []))
    seconds = round(time.monotonic() - began, 2)
    return FeaturesSummary(name, goal, level, len(own) - absent, absent, len(found.names), seconds, notes)


def table_of(
    modality: Modality, name: str, cells: NDArray[np.uint64], resolution: int, found: CellFeatures
) -> EmbeddingTable:
    """The table of the cells (n,) that are present in `found`.

    Columns of the same names under the same settings are one Space, of whatever city they are: what the fields in
    `modality.inputs` name is left out of its identity.
    """
    if not found.names:
        raise DataError(f"the modality {name!r} answered without a column")
    settings = settings_of(modality)
    rows = np.flatnonzero(found.present)
    places = cell_places(cells[rows], resolution)
    order = rows[np.argsort(cells[rows])]
    order = order[np.searchsorted(cells[order], places.column("h3").astype(np.uint64))]
    how = {key: value for key, value in settings.items() if key not in modality.inputs}
    digest = digest_json([name, list(found.names), how])[:12]
    layout: dict[str, Any] = {"layout_type": "named_grid", "grid_id": f"h3:{resolution}"}
    if found.reach_m > 0:
        # Probes and evaluations keep a buffer of the widest ground that a row has seen.
        layout["ground_m"] = float(found.reach_m)
    return EmbeddingTable.of(
        places,
        np.ascontiguousarray(found.values[order], dtype=np.float32),
        found.space or Space.published(f"placevec-{name}-{digest}@1", len(found.names), metric="l2"),
        dims=found.names,
        encoder=f"modality:{name}",
        recipe={"modality": name, "settings": settings, **found.recipe},
        sources=found.sources,
        chip_layout=layout,
        saw=found.saw,
    )


def _kept(found: CellFeatures, only: Sequence[str], name: str) -> CellFeatures:
    """Some of the columns, in the order in which they are named."""
    if not only:
        return found
    if found.space is not None:
        raise UsageError(f"{name} makes vectors, whose components say nothing one by one: leave out --only")
    known = {short: at for at, full in enumerate(found.names) for short in (full, *_LOG.findall(full))}
    odd = next((one for one in only if one not in known), None)
    if odd is not None:
        raise UsageError(f"{name} makes no column {odd!r}{nearest(odd, found.names)}")
    at = list(dict.fromkeys(known[one] for one in only))
    names = tuple(found.names[i] for i in at)
    return dataclasses.replace(
        found, names=names, values=found.values[:, at], recipe={**found.recipe, "only": list(names)}
    )


def _cells(area: StudyArea | None, cells: ArrayLike | None, resolution: int | None) -> tuple[NDArray[np.uint64], int]:
    if cells is None:
        if area is None:
            raise UsageError("the features of which cells? give the folder of a study area (`placevec area new`)")
        return area.cells(resolution), area.resolution if resolution is None else resolution
    own = np.unique(np.ascontiguousarray(cells, dtype=np.uint64))
    if len(own) == 0:
        raise UsageError("there are no cells: give at least one")
    valid = are_cells(own)
    if not valid.all():
        raise DataError(f"{int(own[np.argmin(valid)]):x} is no H3 cell")
    levels = np.unique(own >> np.uint64(52) & np.uint64(15))
    if len(levels) > 1:
        shown = ", ".join(str(level) for level in levels)
        raise DataError(f"the cells have the resolutions {shown}: features are of cells of one resolution")
    if resolution is not None and resolution != levels[0]:
        raise UsageError(f"the cells have the resolution {levels[0]}, not {resolution}: leave --resolution out")
    return own, int(levels[0])


def _goal(out: str | Path | None, area: StudyArea | None, name: str) -> Path:
    if out is not None:
        return Path(out)
    if area is None or area.folder is None:
        raise UsageError("where shall the table go? give --out, or the folder of a study area")
    return area.folder / "tables" / f"{name}.parquet"
