"""`placevec change`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Out, Quiet


class Key(StrEnum):
    """What tables are joined by."""

    auto = "auto"
    place = "place"
    h3 = "h3"
    id = "id"


class Measure(StrEnum):
    """How far two vectors are apart."""

    auto = "auto"
    cosine = "cosine"
    l2 = "l2"


def command(
    before: Annotated[Path, typer.Argument(help="The table of the earlier date.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="That of the later date, of the same Space.", show_default=False)],
    out: Out,
    by: Annotated[Key, typer.Option(help="What rows are joined by; auto: the first that both have.")] = Key.auto,
    measure: Annotated[Measure, typer.Option(help="Of change; auto: the metric of the Space.")] = Measure.auto,
    floor: Annotated[
        float | None, typer.Option(help="Noise floor: a quantile of the change, such as 0.95; by default robust.")
    ] = None,
    stable: Annotated[
        str | None,
        typer.Option(help="Noise floor: attributes of places that did not change, such as \"cover == 'rock'\"."),
    ] = None,
    form: Format = None,
    quiet: Quiet = False,
) -> None:
    """Find what changed between two dates: how far each place moved in the Space, and in which direction.

    The table written has an attribute `change` and `changed` (above the noise floor), and the difference as vector:
    map, cluster, search and export read it like any other.

    Example: placevec change cover-2015.parquet cover-2025.parquet -o change.parquet
    """
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.table import filter_of
    from placevec.tasks.change import change

    with progress("change", quiet=quiet) as told:
        found = change(
            before,
            after,
            out,
            by=by.value,
            measure=measure.value,
            floor=floor,
            stable=filter_of(where=stable),
            progress=told,
        )
    ground = "" if found.changed_km2 is None else f", {found.changed_km2:,.1f} km² of {found.total_km2:,.1f} km²"
    note(f"{found.changed:,} of {found.rows:,} places changed{ground}: {found.measure} above {found.floor:.4g}")
    note(f"  the noise floor is the {found.floor_by}; median {found.median:.4g}, 99th percentile {found.p99:.4g}")
    if found.only_before or found.only_after:
        note(f"  left out: {found.only_before:,} places of the earlier table alone, {found.only_after:,} of the later")
    if form is not None or not sys.stdout.isatty():
        emit([found.to_record()], form)
