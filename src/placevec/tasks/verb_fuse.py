"""The fusion of modalities, as recipes know it: the step `fuse`, and what `train` with objective = "fuse" takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from placevec.config import InPath, OutPath
from placevec.errors import RecipeError
from placevec.tasks.run import Context
from placevec.tasks.verb_options import InPaths, Options, optional_path

if TYPE_CHECKING:
    from placevec.tasks.verb_tables import TrainOptions


class FuseOptions(Options):
    """Options of `fuse` in a recipe.

    Attributes:
        modalities: tables of the same hexagons by name.
        out: the table of fused vectors.
        model: a fuser, or give
        method: a fusion without parameters, such as "ring-stack:1".
        graphs: those that the model was trained with.
        cones: H3 resolution of the roots of cones, for large areas.
        halo: rings around a cone; by default all that it depends on.
    """

    modalities: dict[str, InPath] = Field(min_length=1)
    out: OutPath
    model: InPath | None = None
    method: str | None = None
    graphs: InPaths = Field(default_factory=list)
    cones: int | None = Field(None, ge=0, le=15)
    halo: int | None = Field(None, ge=0)


def fuse_step(options: FuseOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.fuse import fuse

    return fuse(
        {name: context.path(table) for name, table in options.modalities.items()},
        context.path(options.out),
        model=optional_path(context, options.model),
        method=options.method,
        graphs=[context.path(graph) for graph in options.graphs],
        cone_resolution=options.cones,
        halo=options.halo,
        restart=context.restart,
        seed=context.seed,
        told=lambda what, done, total: context.progress(done, total, {"of": what}),
    )


def fuse_words(options: TrainOptions, context: Context) -> dict[str, Any]:
    """What `train` is called with for objective = "fuse"; nothing for another."""
    given = {
        "modalities": {name: context.path(table) for name, table in options.modalities.items()},
        "levels": options.levels,
        "graphs": [context.path(graph) for graph in options.graphs],
    }
    supervised = {"labels": options.labels, "targets": options.targets, "log1p": options.log1p, "fold": options.fold}
    if options.objective != "fuse":
        stray = next((name for name, value in {**given, **supervised}.items() if value not in (None, {}, [])), None)
        if stray is not None:
            raise RecipeError(f'{stray} is for objective = "fuse": leave it out of {options.objective!r}')
        return {}
    if options.labels is None:
        stray = next((name for name in ("targets", "log1p", "fold") if supervised[name] not in (None, [])), None)
        if stray is not None:
            raise RecipeError(f"{stray} says how targets are learned from: give labels as well")
        return given
    from placevec.tasks.train_fuse import Supervision

    if options.fold is None:
        raise RecipeError("labels: say which fold is kept for a test, fold = 0 and so on; a fuser for each")
    taught = Supervision(
        context.path(options.labels),
        tuple(options.targets),
        options.fold,
        options.test_folds or 5,
        block=options.block or "",
        seed=options.split_seed,
        buffer_m=options.buffer_m or 0.0,
        log1p=tuple(options.log1p),
    )
    return {**given, "supervision": taught}
