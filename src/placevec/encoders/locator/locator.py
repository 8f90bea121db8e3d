"""The locator: images to a law over a region of the Earth, to points, and to guesses with their evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.encoders.backbones import Backbone
from placevec.encoders.base import ModelCard, Vectors, unit_rows
from placevec.encoders.locator import folder as folders
from placevec.encoders.locator.decode import decode, holdout, refined
from placevec.encoders.locator.decoding import Decoding
from placevec.encoders.locator.gallery import Gallery
from placevec.encoders.locator.guesses import Behind, Shown, guesses_of
from placevec.encoders.locator.locating import Locates
from placevec.encoders.locator.net import (
    Fuse,
    LocatorNet,
    Outputs,
    batch_rows,
    fuse_features,
    fuse_images,
    padded,
    raw_outputs,
)
from placevec.encoders.locator.prediction import Prediction
from placevec.encoders.locator.reading import DEFAULT_PIXELS
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.geo.geocells import GeoCells
from placevec.geo.sphere import LonLat
from placevec.measure.geo_calibration import Calibration, Holdout
from placevec.nn.locator import LocatorHead
from placevec.results import Guess

Rows = NDArray[np.int64]

PHASE = "phase"  # the key of a card's recipe that says how far the training has come


class Locator(Locates):
    """Says where an image was taken. As an encoder it gives the fused vectors, by which images are searched.

    Args:
        backbones: one or more image encoders.
        head: made for their widths and for the cells.
        geocells: the cells, built from training points alone.
        card: what it is; see `locator_card`.
        calibration: fitted on places held out; without one the network is taken at its word.
        gallery: training images: evidence, and what refines.
        decoding: how the network's answers become guesses.
        device: of torch.

    Raises:
        CheckpointError: the head was made for other cells.
    """

    def __init__(
        self,
        backbones: Sequence[Backbone],
        head: LocatorHead,
        geocells: GeoCells,
        card: ModelCard,
        *,
        calibration: Calibration | None = None,
        gallery: Gallery | None = None,
        decoding: Decoding | None = None,
        device: str = "cpu",
    ) -> None:
        decoding = decoding or Decoding()
        folders.check_cells(head, geocells, card)
        folders.check_shift(decoding, geocells)
        super().__init__(replace(card, config=folders.card_config(backbones, head, geocells, decoding)))
        self.device = torch.device(device)
        self.net = LocatorNet(backbones, head).to(self.device).eval()
        self.geocells = geocells
        self.calibration = calibration or Calibration.identity(confidence_m=decoding.confidence_m)
        self.gallery = gallery
        self.decoding = decoding

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Locator:
        """The locator of a model folder.

        Raises:
            CheckpointError: a file is missing or changed, or the folder holds another model.
        """
        found = load_encoder(folder, device)
        if not isinstance(found, Locator):
            raise CheckpointError(f"{folder} holds an encoder of kind {found.card.kind!r}, not a locator")
        return found

    @classmethod
    def from_card(cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> Locator:
        """Build the locator of a model folder; see `encoders.model.load_encoder`."""
        parts = folders.read_parts(card, state, folder)
        return cls(
            parts.backbones,
            parts.head,
            parts.geocells,
            card,
            calibration=parts.calibration,
            gallery=parts.gallery,
            decoding=parts.decoding,
            device=device,
        )

    def save(self, folder: str | Path) -> Locator:
        """Write the model folder, whole or not at all; the answer is the locator with the card as written."""
        card = folders.write(self.net, self.card, self.geocells, self.calibration, self.gallery, folder)
        return self._with(card=card)

    def decoded(self, **changes: Any) -> Locator:
        """The same locator with other fields of `Decoding`; UsageError for one that there is not."""
        odd = next((name for name in changes if name not in Decoding.__dataclass_fields__), None)
        if odd is not None:
            raise UsageError(f"decoding has no setting {odd!r}; it has: {', '.join(Decoding.__dataclass_fields__)}")
        return self._with(decoding=replace(self.decoding, **changes))

    def calibrated(self, calibration: Calibration) -> Locator:
        """The same locator with a calibration."""
        return self._with(calibration=calibration)

    def with_gallery(self, gallery: Gallery | None) -> Locator:
        """The same locator with other training images to compare with."""
        return self._with(gallery=gallery)

    def with_card(self, card: ModelCard) -> Locator:
        """The same locator with another card."""
        return self._with(card=card)

    def _with(self, **changes: Any) -> Locator:
        return Locator(
            self.backbones,
            self.head,
            self.geocells,
            changes.get("card", self.card),
            calibration=changes.get("calibration", self.calibration),
            gallery=changes.get("gallery", self.gallery),
            decoding=changes.get("decoding", self.decoding),
            device=str(self.device),
        )

    @property
    def backbones(self) -> list[Backbone]:
        """The image encoders."""
        return self.net.each()

    @property
    def head(self) -> LocatorHead:
        """What stands on them."""
        return self.net.head

    @property
    def pixels(self) -> int:
        """Side of the images that it learned from, or else the one at which its largest backbone works."""
        said = self.card.recipe.get("pixels")
        return said if isinstance(said, int) and said > 0 else self.net.pixels or DEFAULT_PIXELS

    @property
    def phase(self) -> int | None:
        """How far its training has come: 0 regions, 1 cells and offsets, 2 backbones too; None where nobody says."""
        said = self.card.recipe.get(PHASE)
        return said if isinstance(said, int) and not isinstance(said, bool) else None

    @property
    def reads_camera(self) -> bool:
        """Whether it makes use of what cameras write beside a photo: time, focal length, heading, tags."""
        return any(branch.kind in ("metadata", "tags") for branch in self.head.config.branches)

    def require_cells(self) -> None:
        """UsageError if only regions were learned so far: a point would be noise that looks like an answer."""
        if self.phase == 0:
            raise UsageError(
                f"{self.card.name or 'this locator'} has learned regions alone (phase 0 of its training): train "
                "phase 1 before it locates; Locator.predict_regions works"
            )

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The fused vectors (n, dims), of length 1, of `image` (n, bands, S, S) uint8 and the inputs of its branches.

        Raises:
            DataError: images of another shape, or a further input of another form.
        """
        fuse, count, size = self._look(data)
        parts = [np.empty((0, self.dims), dtype=np.float32)]
        with torch.inference_mode():
            parts += [unit_rows(fuse(rows).float().cpu().numpy()[:real]) for rows, real in padded(count, size)]
        return np.concatenate(parts)

    def predict_regions(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """The law of regions, log p(region) (n, P), from the first phase of the training on."""
        fuse, count, size = self._look(data)
        shift = self._shift
        parts = [np.empty((0, len(self.geocells.regions)))]
        with torch.inference_mode():
            for rows, real in padded(count, size):
                logits = self.head.region_logits(fuse(rows))
                tempered = (logits if shift is None else logits + shift).double() / self.calibration.region_temperature
                parts.append(tempered.log_softmax(dim=1).cpu().numpy()[:real])
        return np.concatenate(parts)

    def predict(
        self, data: Mapping[str, NDArray[Any]], true_cells: Rows | None = None, *, batch: int | None = None
    ) -> Prediction:
        """Where images were taken.

        Args:
            data: see `encode`; "lonlat" is not looked at.
            true_cells: (n,) rows of the cells that hold the truth, -1 where none does, for the diagnostic
                `Prediction.oracle`.
            batch: images that go through the network at once. By default a number that depends on their size alone, so
                that the answer for an image is the same, bit by bit, in whatever company; another one changes digits.

        Raises:
            UsageError: see `require_cells`.
            DataError: images of another shape, or cells that there are not.
        """
        return self.decode(self.outputs(data, true_cells, batch=batch))

    def outputs(
        self, data: Mapping[str, NDArray[Any]], true_cells: Rows | None = None, *, batch: int | None = None
    ) -> Outputs:
        """What the network says of images, before any calibration: what calibrations are fitted to; see `predict`."""
        fuse, count, size = self._look(data)
        return self._outputs(fuse, count, batch or size, true_cells)

    def outputs_of_features(
        self,
        features: Sequence[NDArray[np.float32]],
        extras: Mapping[str, NDArray[Any]] | None = None,
        true_cells: Rows | None = None,
    ) -> Outputs:
        """The same from the features (n, width) of each backbone, computed before."""
        tensors = [torch.from_numpy(np.ascontiguousarray(values)) for values in features]
        fuse = fuse_features(self.net, tensors, self.head.extras(extras or {}), self.device)
        return self._outputs(fuse, len(tensors[0]), 256, true_cells)

    def decode(self, outputs: Outputs) -> Prediction:
        """What the calibration and the decoding make of the network's answers."""
        return decode(outputs, self.geocells, self.calibration, self.decoding)

    def holdout(self, outputs: Outputs, truth: LonLat, groups: NDArray[Any] | None = None) -> Holdout:
        """Answers for places held out, as `measure.geo_calibration.fit_calibration` takes them.

        Args:
            outputs: of n images, by `outputs`.
            truth: where they were taken.
            groups: (n,) the spatial block of each.
        """
        return holdout(outputs, self.geocells, self.decoding, truth, groups)

    def guesses(self, prediction: Prediction, ids: Sequence[str], shown: Shown | None = None) -> Iterator[Guess]:
        """The images of a prediction as guesses, one by one: credible regions are drawn when a guess is asked for."""
        return guesses_of(prediction, ids, shown or Shown(), self._behind)

    def guess(self, prediction: Prediction, row: int, id: str = "", shown: Shown | None = None) -> Guess:
        """One image of a prediction as a guess."""
        return next(self.guesses(prediction.take(slice(row, row + 1)), [id], shown))

    @cached_property
    def _behind(self) -> Behind:
        cells = self.geocells
        return Behind(
            named=cells.regions,
            owner=cells.region,
            gallery=self.gallery,
            levels=self.decoding.levels,
            calibration=self.calibration,
            domain=shapely.union_all(cells.regions.polygons),
        )

    def _look(self, data: Mapping[str, NDArray[Any]]) -> tuple[Fuse, int, int]:
        """How rows of a batch become fused vectors, how many there are, and how many go together."""
        image = self.take(data, "image")
        if image.ndim != 4:
            raise DataError(f"images of the shape {image.shape}: a locator reads (n, bands, height, width)")
        tensor = torch.from_numpy(np.ascontiguousarray(image))
        fuse = fuse_images(self.net, tensor, self.head.extras(data), self.device)
        return fuse, len(image), batch_rows(self.net.pixels or image.shape[-1], self.device)

    def _outputs(self, fuse: Fuse, count: int, size: int, true_cells: Rows | None) -> Outputs:
        def run(rows: tuple[Tensor, int]) -> Outputs:
            return raw_outputs(
                self.net,
                fuse,
                self.geocells,
                self._shift,
                rows,
                regions=self.decoding.regions,
                cells=self.decoding.cells,
                true_cells=true_cells,
            )

        if true_cells is not None and len(true_cells) != count:
            raise DataError(f"{len(true_cells)} true cells for {count} images; give one for each")
        if not count:
            # One blank image tells the shapes.
            blank = self.net.blank(self.pixels)
            return self._outputs(fuse_images(self.net, blank, {}, self.device), 1, 1, _first(true_cells)).take(slice(0))
        found = Outputs.joined([run(rows) for rows in padded(count, size)])
        if self.decoding.refine is None or self.gallery is None or not len(self.gallery):
            return found
        return refined(found, self.gallery, self.decoding.refine, self.geocells.starts)

    @property
    def _shift(self) -> Tensor | None:
        shift = self.decoding.region_shift
        return torch.tensor(shift, dtype=torch.float32, device=self.device) if shift else None


def _first(true_cells: Rows | None) -> Rows | None:
    return None if true_cells is None else np.zeros(1, dtype=np.int64)
