"""The verbs that make models and tables, as recipes know them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from placevec.config import InPath, OutPath
from placevec.errors import UsageError
from placevec.tasks.inputs import Input, Stretched
from placevec.tasks.run import Context
from placevec.tasks.verb_fuse import fuse_words
from placevec.tasks.verb_options import (
    GRID,
    InPaths,
    Options,
    Reads,
    Texts,
    name_of,
    optional_name,
    optional_path,
    paths_of,
)


class TrainOptions(Reads):
    """Options of `train` in a recipe."""

    objective: Literal["image", "location", "image-text", "landscape", "locate", "fuse"]
    table: InPath | list[InPath] | None = None
    captions: InPath | None = None
    images: InPath | None = None
    model: InPath | None = None
    out: OutPath
    untrained: OutPath | None = None
    block: str | None = None
    folds: int = Field(10, ge=0)
    buffer_m: float | None = None
    test_folds: int | None = Field(None, ge=0)
    calibration_folds: int = Field(1, ge=0)
    split_seed: int = Field(0, ge=0)
    regions: InPath | None = None
    region_column: str | None = None
    phases: list[Literal["province", "geography", "tuning"]] = Field(default_factory=list)
    start: InPath | None = None
    modalities: dict[str, InPath] = Field(default_factory=dict)
    levels: list[int] | None = None
    graphs: InPaths = Field(default_factory=list)
    labels: InPath | None = None
    targets: Texts = Field(default_factory=list)
    log1p: Texts = Field(default_factory=list)
    fold: int | None = Field(None, ge=0)
    config: dict[str, Any] = Field(default_factory=dict)
    sweep: dict[str, Any] = Field(default_factory=dict)
    rank_by: str | None = None

    @field_validator("sweep")
    @classmethod
    def _lists(cls, value: dict[str, Any]) -> dict[str, Any]:
        from placevec.tasks.settings import flat_sweeps

        try:
            return dict(flat_sweeps(value))
        except UsageError as error:  # pydantic reports a ValueError with the name of the step
            raise ValueError(str(error)) from error


class EmbedOptions(Reads):
    """Options of `embed` in a recipe: of places, of a grid, or of image files and captions."""

    encoder: InPath
    out: OutPath
    images: InPath | None = None
    captions: InPath | None = None
    split: str | None = None
    reads: Literal["image", "text"] = "image"
    fit: Literal["squash", "crop"] | None = None
    bands: tuple[int, ...] | None = None
    stretch: Stretched = "auto"
    table: OutPath | None = None  # of the pixels of a grid
    bbox: tuple[float, float, float, float] | None = None
    mask: bool = True
    dtype: Literal["float32", "float16", "int8"] = "float32"
    batch: int = Field(256, ge=1)
    workers: int = Field(1, ge=1)
    engine: Literal["local", "ray"] = "local"

    def input(self, context: Context) -> Input:
        """The Input that these options describe."""
        files: dict[str, Any] = {
            "split": self.split,
            "reads": self.reads,
            "fit": self.fit,
            "bands": self.bands,
            "stretch": self.stretch,
        }
        if self.images is None and self.captions is None:
            return Input(**{**super().input(context).model_dump(), **files})
        placed = {"raster", "layers", "mask_centre", "ground_m", "on", "resolution", "lon", "lat", "id"}
        strays = placed & self.model_fields_set
        if strays:
            raise UsageError(f"{min(strays)} is for places on a map, and image files are read: leave it out")
        return Input(
            images=optional_name(context, self.images),
            captions=optional_name(context, self.captions),
            pixels=self.pixels,
            limit=self.limit,
            **files,
        )


class AugmentOptions(Options):
    """Options of `augment` in a recipe."""

    table: InPath
    bank: InPath | list[InPath]
    out: OutPath
    keys: InPath | list[InPath] | None = None
    mode: Literal["concat", "top1", "topm", "soft", "range+", "geo", "multiscale"] = "multiscale"
    settings: dict[str, Any] = Field(default_factory=dict)
    own: bool = False
    context: bool = False
    buffer_m: float = Field(0.0, ge=0)
    max_m: float | None = None
    folds: int = Field(0, ge=0)
    index: Literal["auto", "exact", "faiss"] = "auto"
    dtype: Literal["float32", "float16"] = "float32"


class ImportOptions(Options):
    """Options of `import` in a recipe."""

    files: list[InPath]
    out: OutPath
    crs: str | None = None
    space: str | None = None
    id: str | None = None
    lon: str | None = None
    lat: str | None = None
    vector: str | None = None
    prefix: str = "dim_"
    dtype: Literal["float32", "float16", "int8"] | None = None
    as_: str = Field("table", alias="as")
    basis: str | None = None


def train_step(options: TrainOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.train import train

    settings = dict(options.config)
    if options.objective == "locate":
        settings = {"seed": context.seed, **settings}
        for phase in ("province", "geography", "tuning"):
            given = settings.get(phase, {})
            settings[phase] = {**given, "loop": {"seed": context.seed, **given.get("loop", {})}}
    else:
        settings["loop"] = {"seed": context.seed, **settings.get("loop", {})}
    tables = [options.table] if isinstance(options.table, str) else options.table
    if options.objective == "image-text" and options.pixels is not None:
        settings["pixels"] = options.pixels
    words: dict[str, Any] = {
        **{name: optional_name(context, getattr(options, name)) for name in ("captions", "model")},
        "images": None if options.objective == "locate" else optional_name(context, options.images),
        "input": _located(options, context) if options.objective in ("image", "landscape", "locate") else None,
        "table": None if tables is None else [context.path(table) for table in tables],
        "config": settings,
        "block": options.block,
        "folds": options.folds,
        "buffer_m": options.buffer_m,
        "test_folds": options.test_folds,
        "calibration_folds": options.calibration_folds,
        "split_seed": options.split_seed,
        **{name: optional_name(context, getattr(options, name)) for name in ("regions", "start")},
        "region_column": options.region_column,
        "phases": options.phases,
        **fuse_words(options, context),
        "untrained": optional_path(context, options.untrained),
        "restart": context.restart,
        "progress": context.progress,
    }
    out = context.path(options.out)
    if options.sweep:
        from placevec.tasks.sweep import sweep

        return sweep(options.objective, out, options.sweep, rank_by=options.rank_by, note=context.note, **words)
    return train(options.objective, out, **words)


def _located(options: TrainOptions, context: Context) -> Input:
    """What is learned from: places with chips or patches; of "locate" also images, or the photos of a list."""
    from placevec.tasks.photo_inputs import photos_of

    if options.objective != "locate":
        return options.input(context)
    if options.images is not None:
        return Input(images=str(context.path(options.images)), pixels=options.pixels, limit=options.limit, fit="crop")
    return photos_of(options.input(context), options.pixels)


def embed_step(options: EmbedOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.embed import embed
    from placevec.tasks.input_files import prepared

    if options.on == GRID:
        from placevec.tasks.embed_grid import embed_grid
        from placevec.tasks.encoders import encoder_spec

        return embed_grid(
            encoder_spec(name_of(context, options.encoder)),
            context.path(options.out),
            area=context.folder if context.area is not None else None,
            bbox=options.bbox,
            resolution=str(options.resolution or "1km"),
            dtype=options.dtype,
            table=optional_path(context, options.table),
            mask=options.mask,
            seed=context.seed,
            progress=context.progress,
        )
    given, encoder = prepared(options.input(context), name_of(context, options.encoder))
    summary = embed(
        given.source(),
        encoder,
        context.path(options.out),
        batch=options.batch,
        workers=options.workers,
        engine=options.engine,
        dtype=options.dtype,
        seed=context.seed,
        sources=given.sources(),
        chip_layout=given.layout(),
        restart=context.restart,
        progress=context.progress,
    )
    return summary.some_rows()


def augment_step(options: AugmentOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.augment import augment

    words = options.model_dump(exclude={"table", "bank", "out", "keys"})
    return augment(
        context.path(options.table),
        paths_of(context, options.bank),
        context.path(options.out),
        keys=None if options.keys is None else paths_of(context, options.keys),
        progress=context.progress,
        **words,
    )


def import_step(options: ImportOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.import_ import import_model, import_tables

    files, out = [context.path(file) for file in options.files], context.path(options.out)
    if options.as_ != "table":
        return import_model(files, out, options.as_, basis=options.basis)
    words = options.model_dump(exclude={"files", "out", "as_", "basis"}, exclude_none=True)
    return import_tables(files, out, **words)
