"""`placevec info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Tables, stencils, patches, grids, models, areas.", show_default=False),
    ],
    form: Format = None,
) -> None:
    """Say what a table, stencil, patch set, grid, model or study area is and where it came from.

    Example: placevec info demo/iberia/tables/location.parquet
    """
    import sys

    from placevec.cli.output import Form, emit
    from placevec.tasks.info import info

    facts = [info(path) for path in paths]
    if form is None and sys.stdout.isatty():
        for one in facts:
            emit([{"what": name, "is": value} for name, value in one.items()], Form.table, title=one["path"])
    else:
        emit(facts, form)
