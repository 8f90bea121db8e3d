"""What `probe --residuals` writes: where the best learned row is wrong, in bins, as GeoJSON and as a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from placevec.errors import UsageError
from placevec.table import Places
from placevec.tasks.probed import Answer


def write_residuals(
    out: str | Path,
    places: Places,
    answers: Sequence[Answer],
    *,
    said: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write the out-of-fold residuals of the best learned row of each target in dissolved quantile bins.

    For one target OUT.geojson and OUT.png, for several OUT-TARGET.geojson and so on. Rows of one cell are averaged.

    Args:
        out: the GeoJSON file.
        places: the places that were probed, with their cells in the column h3.
        answers: the targets; classes are left out, which is said.
        said: told of each file, and Moran's I.

    Raises:
        MissingExtra: matplotlib is not installed; the GeoJSON is written before.
        UsageError: the places are no cells, or `out` is no GeoJSON file.
    """
    from placevec.atlas.residual_maps import residual_bins, residual_figure, write_residual_bins

    path, tell = Path(out), said or (lambda text: None)
    if path.suffix not in (".geojson", ".json"):
        raise UsageError(f"{path}: the residuals' file ends in .geojson (a map is written beside it)")
    if not places.has("h3"):
        raise UsageError("residuals are dissolved by H3 cells, of which the places have none: probe tables of cells")
    cells = places.column("h3").astype(np.uint64)
    written = []
    numbers = [answer for answer in answers if answer.report.kind == "regression"]
    for answer in answers:
        report = answer.report
        if report.kind != "regression":
            tell(f"{report.target}: the errors of classes have no sign, so there is no map of residuals")
            continue
        own, code = np.unique(cells[answer.rows], return_inverse=True)
        values = report.residuals.values
        good = np.isfinite(values)
        count = np.bincount(code[good], minlength=len(own))
        sums = np.bincount(code[good], values[good], minlength=len(own))
        found = residual_bins(own, np.where(count > 0, sums / np.maximum(count, 1), np.nan))
        name = "".join(c if c.isalnum() or c in "_." else "-" for c in report.target)
        goal = path if len(numbers) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        written.append(write_residual_bins(goal, found))
        figure = residual_figure(
            goal.with_suffix(".png"),
            found,
            title=f"{report.target}: where the probe is wrong",
            subtitle=f"{report.residuals.features}, {report.residuals.split} folds"
            + (", log1p scale" if report.transform else ""),
        )
        written.append(figure)
        tell(f"{report.target}: {found.words}; residuals: {goal}, map: {figure}")
    return written
