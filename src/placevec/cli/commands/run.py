"""`placevec run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Quiet
from placevec.cli.output import Form


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe: TOML with [[step]] blocks.", show_default=False)],
    area: Annotated[Path | None, typer.Option(help="The study area in whose folder it runs.")] = None,
    from_step: Annotated[str | None, typer.Option("--from", help="Do this step and all after it again.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Do all steps again.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="With the recipe's small settings.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="steps.NAME.OPTION=VALUE or vars.NAME=VALUE.")] = None,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Execute a recipe; steps whose inputs, options and code have not changed are skipped.

    Example: placevec run examples/iberia/recipe.toml --area demo/iberia --set steps.image.config.loop.epochs=10
    """
    execute(recipe, area, smoke=smoke, overrides=set_, from_step=from_step, force=force, quiet=quiet, form=form)


def execute(
    path: Path,
    area: Path | None,
    *,
    smoke: bool,
    overrides: Sequence[str] | None,
    from_step: str | None = None,
    until: str | None = None,
    force: bool = False,
    quiet: bool = False,
    form: Form | None = None,
) -> None:
    """Execute a recipe, or its steps up to the last one of the verb `until`."""
    from placevec.area import StudyArea
    from placevec.cli.output import emit, note, progress
    from placevec.config import load_recipe, parse_override
    from placevec.errors import UsageError
    from placevec.tasks.area import recipe_area
    from placevec.tasks.run import run
    from placevec.tasks.verbs import VERBS

    loaded = load_recipe(path, smoke=smoke, overrides=dict(parse_override(text) for text in overrides or []))
    if until is not None:
        last = max((i for i, step in enumerate(loaded.steps) if step.do == until), default=-1)
        if last < 0:
            raise UsageError(f"{path} has no step of the verb {until!r}")
        loaded = loaded.model_copy(update={"steps": loaded.steps[: last + 1]})
    region = None if area is None else StudyArea.open(area)
    if region is None and loaded.area is not None:
        region = recipe_area(loaded, path.parent)
        if not quiet:
            note(f"{region.folder}: {region.area_km2:,.0f} km², {len(region.cells()):,} cells")
    # As with an area, what is made stands where the user is, not where the recipe came from.
    folder = Path(loaded.folder) if loaded.folder else path.parent
    with progress(loaded.name, quiet=quiet) as told:
        summary = run(
            loaded,
            VERBS,
            area=region,
            folder=folder,
            from_step=from_step,
            force=force,
            progress=lambda step, done, total, facts: told(done, total, {"step": step, **facts}),
            note=None if quiet else note,
        )
    emit([{"step": s.name, "verb": s.do, "state": s.state, "seconds": s.seconds} for s in summary.steps], form)
