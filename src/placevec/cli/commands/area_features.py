"""`placevec area features`: a command for each modality, made of its settings when it is asked for."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Quiet

if TYPE_CHECKING:
    from placevec.tasks.modality_settings import ModalityOption


class Modalities(TyperGroup):
    """The modalities of the registry, plug-ins among them; a module is imported when its command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        from placevec.tasks.modality_settings import modality_names

        return modality_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of one; one that cannot be loaded says so when it is called, and hides no other."""
        from placevec.errors import PlacevecError
        from placevec.tasks.modality_settings import modality_names

        if cmd_name not in modality_names():
            return None
        try:
            return command_of(cmd_name)
        except (ImportError, PlacevecError) as error:
            return _broken(cmd_name, error)


app = typer.Typer(
    cls=Modalities,
    no_args_is_help=True,
    help="Describe the cells of an area by one kind of data: a table of a modality.\n\n"
    "Example: placevec area features roads porto-alegre --osm poa.osm.pbf",
    rich_markup_mode="rich",
)


@app.callback()
def group() -> None:
    """Each command is a modality; `placevec area features NAME --help` tells its options."""


def command_of(name: str) -> Any:
    """The command of a modality."""
    from placevec.tasks.modality_settings import modality_class, options_of

    kind = modality_class(name)
    options = options_of(kind)
    text = inspect.getdoc(kind) or name
    # What a docstring says of the attributes stands at the options.
    text = _paragraphs(text.partition("\nAttributes:")[0])
    example = kind.example or f"placevec area features {name} AREA"
    made = typer.Typer(add_completion=False, rich_markup_mode="rich")
    made.command(name, help=f"{text}\n\nExample: {example}")(_function(name, options))
    return typer.main.get_command(made)


def _paragraphs(text: str) -> str:
    """A docstring whose lines are broken by the width of the terminal, not by that of the source."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).strip()


def _function(name: str, options: list[ModalityOption]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        common = {one: given.pop(one) for one in ("area", "out", "on", "only", "resolution", "quiet", "form")}
        # What was not given is the modality's own default.
        chosen = {key[len(_OWN) :]: value for key, value in given.items() if value is not None and value != []}
        _run(name, chosen, **common)

    parameters = [
        _parameter(
            "area", Annotated[Path | None, typer.Argument(help="The folder of a study area.", metavar="AREA")], None
        ),
        *(_parameter(_OWN + one.name, *_typed(one)) for one in options),
        _parameter("out", _OUT, None),
        _parameter("on", _ON, "cells"),
        _parameter("only", _ONLY, None),
        _parameter("resolution", reads.Resolution, None),
        _parameter("quiet", Quiet, False),
        _parameter("form", Format, None),
    ]
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


_OWN = "own_"  # before the options of a modality, which may have the names of common parameters
_OUT = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="A .parquet or .lance; by default tables/NAME.parquet of the area."),
]
_ONLY = Annotated[list[str] | None, typer.Option(help="Keep this column alone; may be repeated.", metavar="<column>")]
_ON = Annotated[str, typer.Option(help="cells (of AREA), or a file with a column of H3 cells.")]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typed(option: ModalityOption) -> tuple[Any, Any]:
    """The annotation of an option and its default; values are checked by the modality, not by the command line."""
    kind: Any = option.types[0] if len(option.types) == 1 and option.types[0] in (bool, int, float, Path) else str
    flags = (f"{option.flag}/--no-{option.flag[2:]}",) if kind is bool and not option.many else (option.flag,)
    shown: Any = False
    if not option.required and option.default not in (None, (), ""):
        default = option.default
        shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
        shown = shown if kind is bool or isinstance(default, tuple) else str(default)
    told = f"{option.help.rstrip('.')}{'; may be repeated' if option.many else ''}."
    if shown:  # as typer shows a default, which would set one that is told and not given in brackets
        told += f" \\[default: {shown}]"
    choices = typing.get_args(option.types[0])
    described = typer.Option(
        *flags, help=told, show_default=False, metavar="|".join(map(str, choices)) if choices else None
    )
    wanted = list[kind] if option.many else kind
    if option.required:
        return Annotated[wanted, described], inspect.Parameter.empty
    return Annotated[wanted | None, described], None


def _run(
    name: str,
    options: dict[str, Any],
    *,
    area: Path | None,
    out: Path | None,
    on: str,
    only: list[str] | None,
    resolution: str | None,
    quiet: bool,
    form: Any,
) -> None:
    from placevec.cli.output import emit, note, progress
    from placevec.sources.targets import cells_of_file
    from placevec.tasks.features import cell_features

    with progress(name, quiet=quiet) as told:
        made = cell_features(
            name,
            out,
            area=area,
            cells=None if on == "cells" else cells_of_file(on),
            resolution=reads.cell_resolution(resolution),
            options=options,
            only=only or (),
            told=lambda what, done, total: told(done, total, {"": what}),
        )
    for text in made.notes:
        note(text)
    emit([{key: value for key, value in made.to_record().items() if key != "notes"}], form)


def _broken(name: str, error: Exception) -> Any:
    reason = " ".join(str(error).split())
    made = typer.Typer(add_completion=False)

    @made.command(name, help=f"Cannot be loaded: {reason}")
    def run() -> None:
        from placevec.errors import UsageError

        raise UsageError(f"the modality {name!r} cannot be loaded ({reason}): mend or remove the package it comes from")

    return typer.main.get_command(made)
