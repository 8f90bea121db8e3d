"""The modality `columns`: columns of numbers from a file about cells, points or polygons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.modality import CellFeatures, Told, log1p_columns
from placevec.provenance import Saw
from placevec.sources.targets import read_rows
from placevec.sources.targets.keys import resolutions
from placevec.tasks.cell_values import cell_values
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.targets import chosen_columns, how_of, parse_how


@dataclass(frozen=True)
class Columns(Modality):
    """Columns of numbers from a file of H3 cells, such as schools or rents; also of points or polygons.

    Cells of which one of the columns is absent have no row. The table remembers which columns it holds: a probe of
    one of them on it is refused, because a target never predicts itself.
    """

    example = "placevec area features columns poa --file poa_hexgrid.csv --column schools --column healthcare"
    inputs = ("file",)

    file: str = option("A CSV, Parquet, GeoJSON or GeoPackage")
    column: tuple[str, ...] = option("A column of it", (), many=True)
    log1p: tuple[str, ...] = option("A column that is taken as ln(1 + x): a count", (), many=True)
    key: str | None = option("The column of H3 cells; found out if not said", None)
    how: tuple[str, ...] = option(
        "sum or mean, or COLUMN=sum: where rows are no cells of the resolution", (), many=True
    )
    land: Literal["children", "area"] = option("Sums of coarser cells go to all children, or the area's", "children")
    crs: str | None = option("The coordinate system, where the file does not say it", None)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """The features of `cells` (n,), H3 cells of one resolution, distinct, in any order."""
        rows = read_rows(self.file, key=self.key, crs=self.crs)
        wanted = tuple(dict.fromkeys((*self.column, *self.log1p)))
        if not wanted:
            raise UsageError(f"which columns of {self.file}? name them with --column or --log1p: none is taken unasked")
        chosen = chosen_columns(rows, wanted, self.file)
        order = np.argsort(cells)
        level = int(resolutions(cells[:1])[0]) if len(cells) else 0
        found = cell_values(
            rows, chosen, how_of(parse_how(self.how), chosen, self.file), cells[order], level, land=self.land,
            path=self.file,
        )  # fmt: skip
        for name in wanted:
            if name not in found.columns or not isinstance(found.columns[name], np.ndarray):
                raise UsageError(f"{self.file}: the column {name!r} holds no numbers: leave it out")
        values = np.empty((len(cells), len(wanted)))
        values[order] = np.column_stack([found.columns[name] for name in wanted])
        for at, name in enumerate(wanted):
            if name in self.log1p and (values[:, at] < 0).any():
                raise DataError(f"{self.file}: {name} is negative somewhere, which --log1p cannot take: leave it out")
        names, logs = log1p_columns(wanted, values, plain=[name for name in wanted if name not in self.log1p])
        lost = [f"{len(found.skipped):,} rows of the file could not be read"] if found.skipped else []
        return CellFeatures(
            names,
            logs,
            np.asarray(np.isfinite(values).all(axis=1)),
            f"{Path(self.file).name} has no value of {' or '.join(wanted)}",
            sources=(rows.source,),
            reach_m=found.reach_m,
            recipe={"how": {name: found.how[name] for name in wanted}},
            notes=(*rows.notes, *found.notes, *lost),
            saw=tuple(Saw("", name) for name in wanted),
        )
