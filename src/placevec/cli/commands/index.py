"""`placevec index`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet, TablePath


class Kind(StrEnum):
    """How near vectors are found."""

    flat = "flat"
    hnsw = "hnsw"
    ivf_sq8 = "ivf-sq8"
    ivf = "ivf"


class Quantize(StrEnum):
    """How a store keeps vectors to rank by."""

    int8 = "int8"
    none = "none"


def command(
    table: TablePath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The index; by default NAME.index beside NAME.parquet.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="By default flat up to 100,000 rows, else ivf-sq8.", show_default=False)
    ] = None,
    cells: Annotated[int | None, typer.Option(min=1, help="Of ivf: how many; by default about 4 √n.")] = None,
    probes: Annotated[int | None, typer.Option(min=1, help="Of ivf: cells that a query looks into; by trial.")] = None,
    m: Annotated[int | None, typer.Option(min=2, help="Of hnsw: links of a node; 24.")] = None,
    ef: Annotated[int | None, typer.Option(min=1, help="Of hnsw: nodes that a query keeps in sight; by trial.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Add new rows to the index, remove those gone.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read all of the index and say if it is in order.")] = False,
    to: Annotated[
        str | None, typer.Option(help="Load it into a store: qdrant://, qdrants://, postgresql:// or lance://.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Of --to: drop what has that name first.")] = False,
    quantize: Annotated[
        Quantize | None, typer.Option(help="Of --to qdrant: ranks by 8 bits, scores by all.", show_default=False)
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=1, help="Of --to: only so many rows, into a store NAME-test beside it.")
    ] = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Make an index of a table, so that a search of many rows takes milliseconds.

    Search uses the index beside a table where more rows may be found than a scan reads at once.

    Example: placevec index chips.parquet --kind hnsw

    Example: placevec index chips.parquet --to qdrant://localhost:6333/chips
    """
    from placevec.cli.output import emit, progress
    from placevec.errors import UsageError
    from placevec.tasks.index import index_table, verify_index

    numbers = {"cells": cells, "probes": probes, "m": m, "ef": ef}
    beside = out is not None or kind is not None or any(value is not None for value in numbers.values())
    if to is not None:
        if beside or update or check:
            raise UsageError("--to loads a store, which has settings of its own: leave out those of an index")
        from placevec.tasks.index_to import index_to

        chosen = None if quantize is None else quantize.value
        with progress("index", quiet=quiet) as report:
            loaded = index_to(table, to, replace=replace, quantize=chosen, test=test, progress=report)
        emit([loaded.to_record()], form)
        return
    if replace or quantize is not None or test is not None:
        raise UsageError("--replace, --quantize and --test go with --to")
    if check:
        if update or kind is not None or any(value is not None for value in numbers.values()):
            raise UsageError("--check looks at an index and changes nothing: leave out the other options")
        emit([verify_index(table, out)], form)
        return
    with progress("index", quiet=quiet) as report:
        summary = index_table(
            table, out, kind=None if kind is None else kind.value, update=update, progress=report, **numbers
        )
    emit([summary.to_record()], form)
