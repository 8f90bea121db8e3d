"""Tables of modalities and files of targets, as recipes know them: the steps `features` and `targets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from placevec.config import InPath, OutPath, PathRole
from placevec.errors import RecipeError, UsageError
from placevec.sources.catalog import dataset_file
from placevec.tasks.inputs import CELLS
from placevec.tasks.modality_settings import input_paths, modality_class, modality_of, options_of
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, Texts, name_of

_LISTED = "reads"  # made of the modality's inputs, so that a recipe knows what has to be there


class FeaturesOptions(Options):
    """Options of `features` in a recipe: what is named here, and those of the modality."""

    model_config = ConfigDict(extra="allow")

    modality: str
    out: OutPath
    on: InPath | Literal["cells"] = CELLS
    resolution: int | None = Field(None, ge=0, le=15)
    only: Texts = Field(default_factory=list)
    reads: Annotated[list[str], PathRole("in")] = Field(default_factory=list)
    _own: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def own(self) -> dict[str, Any]:
        """The options of the modality."""
        return self._own

    @model_validator(mode="before")
    @classmethod
    def _not_given(cls, given: Any) -> Any:
        if isinstance(given, dict) and _LISTED in given:
            raise RecipeError(f"step features: the key {_LISTED!r} is not for recipes: name the modality's own option")
        return given

    @model_validator(mode="after")
    def _of_modality(self) -> FeaturesOptions:
        given = dict(self.model_extra or {})
        try:
            optional = {one.name for one in options_of(modality_class(self.modality)) if not one.required}
            # An empty text stands for an option that is left out: so a variable of the recipe can leave it out.
            self._own = {key: value for key, value in given.items() if value != "" or key not in optional}
            self.reads = input_paths(modality_of(self.modality, self._own))
        except UsageError as error:  # pydantic reports a ValueError with the name of the step
            raise ValueError(str(error)) from error
        return self


class TargetsOptions(Options):
    """Options of `targets` in a recipe."""

    file: InPath
    out: OutPath
    resolution: int | None = Field(None, ge=0, le=15)
    kind: Literal["h3", "points", "polygons"] | None = None
    key: str | None = None
    lon: str | None = None
    lat: str | None = None
    geometry: str | None = None
    crs: str | None = None
    columns: Texts = Field(default_factory=list)
    how: Literal["sum", "mean"] | dict[str, Literal["sum", "mean"]] | None = None
    land: Literal["children", "area"] = "children"
    zeros: bool = False
    min_cover: float = Field(0.0, ge=0, le=1)
    complete: bool = False


def features_step(options: FeaturesOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.sources.targets import cells_of_file
    from placevec.tasks.features import cell_features

    kind = modality_class(options.modality)
    own = {
        key: _placed(context, value) if key in kind.inputs and str(value).lower() not in kind.known else value
        for key, value in options.own.items()
    }
    made = cell_features(
        options.modality,
        context.path(options.out),
        area=context.area or (context.folder if (context.folder / "area.toml").exists() else None),
        cells=None if options.on == CELLS else cells_of_file(context.path(options.on)),
        resolution=options.resolution,
        options=own,
        only=options.only,
        told=lambda what, done, total: context.progress(done, total, {"": what}),
    )
    for note in made.notes:
        context.note(f"  {note}")
    return made


def targets_step(options: TargetsOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.targets import import_targets

    words = options.model_dump(exclude={"file", "out"})
    made = import_targets(context.path(options.file), context.path(options.out), area=context.area, **words)
    for note in made.notes:
        context.note(f"  {note}")
    return made


def _placed(context: Context, value: Any) -> Any:
    """Paths of the folder; addresses and names of data sets as they are."""
    if isinstance(value, list | tuple):
        return [_placed(context, one) for one in value]
    if not isinstance(value, str | Path):
        return value
    return name_of(context, str(dataset_file(value) or value))
