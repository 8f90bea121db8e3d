"""One kind of local descriptor, from images to a short vector each: descriptors, Fisher vector, principal axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.nn.vision.fisher.descriptors import CELLS, DIRECTIONS, VIEWS, colours, gradients, in_view, span
from placevec.nn.vision.fisher.mixture import Mixture

_SAMPLE = 80_000  # descriptors from which a mixture is learned


class Channel(nn.Module):
    """Descriptors of one kind at several scales, and the vector that describes them all.

    Args:
        bands: of the images.
        directed: gradients (True) or colours.
        cells: side of a descriptor's cells in pixels, for each scale.
        stride: pixels between positions.
        dims: components of a projected descriptor.
        components: Gaussians of the mixture.
        reduced: components of the short vector.
        shrink: axes whose deviation is below this share of the first one's are not brought to its length.
    """

    centre: Tensor
    axes: Tensor

    def __init__(
        self,
        bands: int,
        directed: bool,
        cells: Sequence[int],
        stride: int,
        dims: int,
        components: int,
        reduced: int,
        shrink: float,
    ) -> None:
        super().__init__()
        self.directed, self.cells, self.stride, self.shrink = directed, tuple(cells), stride, shrink
        self.mixture = Mixture(CELLS * CELLS * (DIRECTIONS if directed else 2 * bands), dims, components)
        self.register_buffer("centre", torch.zeros(self.mixture.outputs))
        self.register_buffer("axes", torch.zeros(self.mixture.outputs, reduced))

    def flat(self, images: Tensor) -> Tensor:
        """The descriptors of all scales of images (n, bands, h, w), (n, m, inputs)."""
        return torch.cat([found.flatten(3).flatten(1, 2) for found in self.descriptors(images)], dim=1)

    def descriptors(self, images: Tensor) -> list[Tensor]:
        """Those of each scale that fits into the images (n, bands, h, w): (n, h', w', 4, 4, k) each."""
        find = gradients if self.directed else colours
        fitting = [cell for cell in self.cells if span(cell) <= min(images.shape[2:])]
        return [find(images, cell, self.stride) for cell in fitting or self.cells[:1]]

    def statistics(self, flat: Tensor, view: int = 0) -> Tensor:
        """The statistics (n, sums) of the descriptors (n, m, inputs) of images, in one of the images' eight views."""
        return self.mixture.statistics(flat, None if view == 0 else self.order(view))

    def order(self, view: int) -> Tensor:
        """Where the numbers of a descriptor in a view stand in that of the image as it is, (inputs,)."""
        numbers = torch.arange(len(self.mixture.mean), device=self.centre.device)
        return in_view(numbers.view(CELLS, CELLS, -1), view, directed=self.directed).flatten()

    def reduce(self, statistics: Tensor) -> Tensor:
        """Short vectors (n, reduced) of statistics (n, sums)."""
        return (self.mixture.fisher(statistics) - self.centre) @ self.axes

    def learn(self, batches: Sequence[Tensor], seed: int) -> None:
        """Take mixture and principal axes from batches of normalised images (n, bands, h, w)."""
        rng = np.random.default_rng(seed)
        total = sum(len(batch) for batch in batches)
        each = max(1, _SAMPLE // max(1, total))
        self.mixture.learn(np.concatenate(list(self._some(batches, each, rng))), seed)
        # The axes are those of images in any view.
        views = [int(view) for view in rng.integers(VIEWS, size=len(batches))]
        self._whiten(
            torch.cat(
                [
                    self.mixture.fisher(self.statistics(self.flat(batch), view))
                    for batch, view in zip(batches, views, strict=True)
                ]
            )
        )

    def _some(self, batches: Sequence[Tensor], each: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
        """Some descriptors of each image, in views drawn for each batch."""
        for batch in batches:
            flat = self.flat(batch)[:, :, self.order(int(rng.integers(VIEWS)))]
            picked = torch.from_numpy(rng.integers(flat.shape[1], size=(len(flat), each)))
            yield flat.gather(1, picked[:, :, None].expand(-1, -1, flat.shape[2])).flatten(0, 1).numpy()

    def _whiten(self, vectors: Tensor) -> None:
        """Take the principal axes of vectors (n, outputs), scaled so that short vectors have deviations of 1 or less."""
        centre = vectors.mean(dim=0)
        moved = vectors - centre
        # There are fewer images than components: by their products the axes are found far sooner.
        squares, sides = torch.linalg.eigh((moved @ moved.T).double())
        lengths = squares.flip(0).clamp_min(0.0).sqrt().float()
        axes = (moved.T @ sides.flip(1).float() / lengths.clamp_min(1e-6)).T
        kept = min(len(lengths), self.axes.shape[1])
        deviations = lengths[:kept] / max(1, len(vectors)) ** 0.5
        scaled = axes[:kept].T / torch.sqrt(deviations**2 + (self.shrink * deviations[0]) ** 2).clamp_min(1e-6)
        typical = ((vectors - centre) @ scaled).std().clamp_min(1e-6)
        self.centre.copy_(centre)
        self.axes.zero_()
        self.axes[:, :kept].copy_(scaled / typical)
