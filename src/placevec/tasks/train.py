"""`train`: learn a model from chips, vectors, images with captions, patches, located images, or modalities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from placevec.errors import UsageError
from placevec.files import remove
from placevec.registry import need
from placevec.table import EmbeddingTable, StoredTable
from placevec.tasks.inputs import Input

if TYPE_CHECKING:
    from placevec.geo.regions import Regions
    from placevec.sources.captions import CaptionSet
    from placevec.tasks.train_fuse import Supervision

Objective = Literal["image", "location", "image-text", "landscape", "locate", "fuse"]
Table = str | Path | StoredTable | EmbeddingTable
Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class TrainSummary:
    """What `train` has made.

    Attributes:
        out: the model folder.
        objective: what was learned.
        space: id of the Space of its vectors.
        dims: their components.
        rows: rows trained on.
        validation: rows of the validation split.
        buffered: rows left out of both, being too near to validation rows.
        scores: figures on the validation rows.
        skipped: rows that could not be read.
        notes: what else was left out, or is to be known, in words.
    """

    out: Path
    objective: Objective
    space: str
    dims: int
    rows: int
    validation: int
    buffered: int
    scores: Mapping[str, float]
    skipped: int = 0
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        record = {**vars(self), "out": str(self.out), "scores": dict(self.scores)}
        return {name: value for name, value in record.items() if value or name not in ("skipped", "notes")}


def train(
    objective: Objective,
    out: str | Path,
    *,
    input: Input | None = None,
    table: Table | Sequence[Table] | None = None,
    captions: str | Path | CaptionSet | None = None,
    images: str | Path | None = None,
    model: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    block: str | None = None,
    folds: int = 10,
    buffer_m: float | None = None,
    test_folds: int | None = None,
    calibration_folds: int = 1,
    split_seed: int = 0,
    regions: Regions | str | Path | None = None,
    region_column: str | None = None,
    phases: Sequence[str] = (),
    start: str | Path | None = None,
    modalities: Mapping[str, Any] | None = None,
    levels: str | Sequence[int] | None = None,
    graphs: Sequence[str | Path] = (),
    supervision: Supervision | None = None,
    untrained: str | Path | None = None,
    restart: bool = False,
    progress: Report | None = None,
) -> TrainSummary:
    """Learn a model and write its folder; killed at any moment, the same call goes on and ends with the same weights.

    Args:
        objective: "image" learns an image encoder from the chips of `input` without any label; "location" learns a
            location encoder against the vectors of `table`, in the table's own Space where the dims agree; "image-text"
            learns an image and a text tower from images with `captions`.
        out: the model folder; the run (checkpoints, logs) stands beside it in ``NAME.run``, and what brings image
            vectors and captions into a new Space in ``NAME-image`` (``NAME-image-TABLE`` for several tables) and
            ``NAME-text``.
        input: places and chips, for "image"; a patch set of pairs, for "landscape"; photos or chips, for "locate".
        table: vectors with coordinates, for "location"; one table or several, joined on their ids.
        captions: a caption set, for "image-text": a file or folder of captions, or dataset:NAME, as
            `sources.captions.read_captions` reads them. Its splits train and val are used, and no other; without a
            val split one of `folds` is held out, of blocks where all images have coordinates, else at random.
        images: folder of the images, where it does not follow from the captions.
        model: a pair of towers that is trained further, instead of new ones: its folder, or hf:NAME or hf:FOLDER, a
            CLIP or SigLIP of transformers; `config.tune` says how much of it.
        config: settings of `train.selfsup.ImageTraining`, `train.contrastive.LocationTraining`,
            `train.pairs.PairTraining`, `train.landscape.LandscapeTraining`, `train.locate.LocateTraining` or
            `train.fuse.FuseTraining`, as JSON.
            Of "image-text" the tables `new` and `further` hold what counts without a `model` alone, and with one.
        block: blocks of the validation split; by default h3:3, of "fuse" the cells of the coarsest level.
        folds: one of so many folds of blocks is held out for validation.
        buffer_m: metres around validation rows without training rows; by default the width of a chip's ground.
        test_folds: of "landscape" and "locate": folds that are kept for a later test, besides those for validation and
            calibration; by default 0 and 1.
        calibration_folds: of "locate": folds on which probabilities and regions are calibrated.
        split_seed: of "locate": another seed deals the blocks otherwise; all phases are given the same one.
        regions: of "locate": the provinces, see `tasks.train_locate.train_locate`, as for the three that follow.
        region_column: the property that names the regions.
        phases: "province", "geography", "tuning"; by default all that are left.
        start: the locator that the phase before has written.
        modalities: of "fuse": tables of the same hexagons, by name, see `tasks.train_fuse.train_fuse`, as for the three
            that follow.
        levels: H3 resolutions, the finest first.
        graphs: accessibility graphs.
        supervision: targets that are learned from besides.
        untrained: where to write a network of the same shape with the weights it began with: a compulsory baseline of
            every probe.
        restart: forget an earlier run.
        progress: called with the steps done, all steps and the figures of the moment.

    Raises:
        UsageError: input or table is missing, or a setting is not known.
        CheckpointError: the run folder belongs to a run with other settings.
    """
    need("torch", extra="torch", purpose="training a model")
    settings = dict(config or {})
    common: dict[str, Any] = {"untrained": untrained, "restart": restart, "progress": progress}
    if objective == "fuse":
        if not modalities:
            raise UsageError("a fuser learns from tables of the same hexagons: give modalities, NAME=TABLE for each")
        from placevec.tasks.train_fuse import train_fuse

        return train_fuse(
            modalities,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            levels=levels,
            graphs=graphs,
            block=block,
            folds=folds,
            supervision=supervision,
            **common,
        )
    block = block or "h3:3"
    if objective == "image":
        if input is None or input.chips is None:
            raise UsageError("an image encoder learns from chips: give a raster, the ground in metres and the pixels")
        from placevec.tasks.train_encoders import train_images

        return train_images(
            input,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            rule=(block, folds, buffer_m),
            **common,
        )
    if objective == "location":
        if table is None:
            raise UsageError("a location encoder learns from vectors: give a table")
        from placevec.tasks.train_encoders import train_locations

        return train_locations(
            table,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            rule=(block, folds, buffer_m),
            **common,
        )
    if objective == "image-text":
        if captions is None:
            raise UsageError(
                "image and text towers learn from images with captions: give captions, such as dataset:ucm"
            )
        from placevec.tasks.train_pairs import train_image_text

        return train_image_text(
            captions,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            images=images,
            model=model,
            rule=(block, folds, buffer_m),
            **common,
        )
    if objective == "landscape":
        if input is None:
            raise UsageError("a landscape is learned from patches: give the folder of a patch set of pairs")
        from placevec.tasks.train_landscape import train_landscape

        return train_landscape(
            input,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            rule=(block, folds, buffer_m),
            test_folds=test_folds or 0,
            **common,
        )
    if objective == "locate":
        if input is None or regions is None:
            raise UsageError(
                "a locator learns from images in regions: give photos (on, a photo list) or chips (a raster), and "
                "regions, a GeoJSON of the provinces"
            )
        from placevec.tasks.train_locate import SplitRule, train_locate

        if buffer_m is None:
            # Chips share ground up to the distance of their diagonal.
            buffer_m = 0.0 if input.chips is None else math.sqrt(2.0) * input.chips.ground_m
        held = 1 if test_folds is None else test_folds
        return train_locate(
            input,
            Path(out),
            settings,
            _fresh(Path(out), restart),
            regions=regions,
            region_column=region_column,
            phases=phases,
            start=start,
            rule=SplitRule(block, folds, buffer_m, calibration_folds, held, split_seed),
            **common,
        )
    raise UsageError(
        f"no objective is called {objective!r}; known: image, location, image-text, landscape, locate, fuse"
    )


def run_folder(out: str | Path) -> Path:
    """Where the checkpoints and logs of the training of a model stand."""
    path = Path(out)
    return path.with_name(f"{path.name}.run")


def _fresh(out: Path, restart: bool) -> Path:
    folder = run_folder(out)
    if restart:
        remove(folder)
    return folder
