"""The step of a recipe that makes an accessibility graph."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from placevec.config import InPath, OutPath
from placevec.errors import UsageError
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, optional_path


class GraphOptions(Options):
    """Options of `graph` in a recipe; see `placevec area graph`."""

    osm: InPath
    mode: Literal["walk", "bike", "drive"] = "walk"
    resolution: int | None = Field(None, ge=0, le=15)
    mass: InPath | None = None
    mass_column: str | None = None
    lon: str = "lon"
    lat: str = "lat"
    beta: float | None = Field(None, ge=0)
    out: OutPath


def graph_step(options: GraphOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.area_graph import area_graph

    if context.area is None:
        raise UsageError("graph: the cells of which area? give the recipe an [area]")
    made = area_graph(
        context.area,
        context.path(options.osm),
        out=context.path(options.out),
        mass=optional_path(context, options.mass),
        told=lambda what, done, total: context.progress(done, total, {"": what}),
        **options.model_dump(exclude={"osm", "out", "mass"}),
    )
    for line in made.notes:
        context.note(line)
    return made.to_record()
