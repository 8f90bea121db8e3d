"""`placevec cluster`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Out, Seed, TablePath


class Method(StrEnum):
    """How clusters are found."""

    kmeans = "kmeans"
    hierarchical = "hierarchical"


def command(
    table: TablePath,
    out: Out,
    k: Annotated[int, typer.Option("-k", min=2, help="How many clusters.")] = 8,
    method: Annotated[
        Method, typer.Option(help="hierarchical: regions that nest over H3 resolutions.")
    ] = Method.kmeans,
    resolution: Annotated[list[int] | None, typer.Option("--resolution", "-r", help="Of a hierarchy.")] = None,
    seed: Seed = 0,
    form: Format = None,
) -> None:
    """Divide places into groups by their vectors; writes the table with a column `cluster`.

    Example: placevec cluster demo/iberia/tables/image.parquet -k 8 -o clusters.parquet
    """
    from placevec.cli.output import emit, note
    from placevec.tasks.cluster import cluster

    finest = cluster(table, out, k=k, method=method.value, resolutions=resolution, seed=seed).levels[0]
    note(f"silhouette {finest.silhouette:.3f} (cosine; 1 is most distinct)")
    emit([{"cluster": i, "rows": int(size)} for i, size in enumerate(finest.sizes)], form)
