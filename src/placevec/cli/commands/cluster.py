"""`placevec cluster`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
    profile: Annotated[
        list[Path] | None, typer.Option(help="Table with named columns that describe the clusters; may be repeated.")
    ] = None,
    map: Annotated[Path | None, typer.Option(help="PNG of the clusters, all resolutions side by side.")] = None,
    seed: Seed = 0,
    form: Format = None,
) -> None:
    """Divide places into groups by their vectors; writes the table with a column `cluster`.

    With tables to profile by, each cluster is described in words, such as "dense, transit-rich, many shops".

    Example: placevec cluster demo/iberia/tables/image.parquet -k 8 -o clusters.parquet

    Example: placevec cluster tables/fused.parquet --method hierarchical -r 7 -r 8 -r 9 --profile tables/roads.parquet
    --profile tables/transit.parquet --map figures/landscapes.png -o tables/landscapes.parquet
    """
    from placevec.cli.output import emit, note
    from placevec.tasks.cluster import describe

    found = describe(
        table,
        out,
        profile=profile or (),
        map=map,
        k=k,
        method=method.value,
        resolutions=resolution,
        seed=seed,
        said=note,
    )
    finest = found.clusters.levels[0]
    note(f"silhouette {finest.silhouette:.3f} (cosine; 1 is most distinct)")
    if found.profiles:
        finest_only = [record for record in found.to_records() if record["resolution"] == finest.resolution]
        emit([{name: record[name] for name in ("cluster", "rows", "words")} for record in finest_only], form)
    else:
        emit([{"cluster": i, "rows": int(size)} for i, size in enumerate(finest.sizes)], form)
