"""One kind of local descriptor, from images to a short vector each: descriptors, Fisher vector, principal axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.nn.vision.fisher.descriptors import (
    CELLS,
    DIRECTIONS,
    VIEWS,
    colours,
    fitting,
    gradients,
    in_view,
    large_enough,
)
from placevec.nn.vision.fisher.mixture import Mixture
from placevec.nn.vision.fisher.windows import cell_rows, window_rows

_SAMPLE = 80_000  # descriptors from which a mixture is learned
_NOISE = 1e-4  # principal axes below this share of the first one's deviation are rounding errors: not kept

Batches = Callable[[], Iterable[Tensor]]
"""Gives the same batches of normalised images (n, bands, h, w) each time it is asked: they need not all be held."""


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
        views: of an image that are to be described: 1 or 8.
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
        views: int = VIEWS,
    ) -> None:
        super().__init__()
        self.directed, self.cells, self.stride, self.shrink, self.views = directed, tuple(cells), stride, shrink, views
        inputs = CELLS * CELLS * (DIRECTIONS if directed else 2 * bands)
        # The colours of one band have 32 numbers: they cannot be projected to more.
        self.mixture = Mixture(inputs, min(dims, inputs), components)
        self.register_buffer("centre", torch.zeros(self.mixture.outputs))
        self.register_buffer("axes", torch.zeros(self.mixture.outputs, reduced))

    def flat(self, images: Tensor) -> Tensor:
        """The descriptors of all scales of images (n, bands, h, w), (n, m, inputs)."""
        return torch.cat([found.flatten(3).flatten(1, 2) for _, found in self.descriptors(images)], dim=1)

    def descriptors(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Of each scale that fits into the images (n, bands, h, w) its cells, and descriptors (n, h', w', 4, 4, k)."""
        images = large_enough(images, self.cells)
        cells = fitting(self.cells, min(images.shape[2:]))
        find = gradients if self.directed else colours
        return zip(cells, find(images, cells, self.stride), strict=True)

    def describe(self, images: Tensor) -> Tensor:
        """Short vectors (n, views, reduced) of images (n, bands, h, w)."""
        flat = self.flat(images)
        found = torch.stack([self.statistics(flat, view) for view in range(self.views)], dim=1)
        return self.reduce(found)

    def windows(self, images: Tensor, grid: tuple[int, int], window: int) -> Tensor:
        """Short vectors of windows around the cells of a grid over images (n, bands, h, w).

        Descriptors are made and assigned once for the whole image. A window without any is described by all of them.

        Args:
            images: as they are, in no other view.
            grid: rows and columns.
            window: side of a window in cells of the grid.

        Returns:
            (n, rows, columns, reduced).
        """
        images = large_enough(images, self.cells)
        scales = list(self.descriptors(images))
        total = images.new_zeros(len(images), self.mixture.sums)
        number = 0.0

        def watched() -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal number
            for sums, counts in cell_rows(self.mixture, scales, (images.shape[2], images.shape[3]), grid, self.stride):
                total.add_(sums.sum(dim=1))
                number += float(counts.sum())
                yield sums, counts

        rows, empty = [], []
        for means, counts in window_rows(watched(), window):
            rows.append(self.reduce(means))
            empty.append(counts == 0)
        everywhere = self.reduce(total / max(number, 1.0))
        return torch.where(torch.stack(empty)[None, :, :, None], everywhere[:, None, None], torch.stack(rows, dim=1))

    def statistics(self, flat: Tensor, view: int = 0) -> Tensor:
        """The statistics (n, sums) of the descriptors (n, m, inputs) of images, in one of the images' eight views."""
        return self.mixture.statistics(flat, None if view == 0 else self.order(view))

    def order(self, view: int) -> Tensor:
        """Where the numbers of a descriptor in a view stand in that of the image as it is, (inputs,)."""
        numbers = torch.arange(len(self.mixture.mean), device=self.centre.device)
        return in_view(numbers.view(CELLS, CELLS, -1), view, directed=self.directed).flatten()

    def reduce(self, statistics: Tensor) -> Tensor:
        """Short vectors (..., reduced) of statistics (..., sums)."""
        moved = self.mixture.fisher(statistics.flatten(0, -2)) - self.centre
        return (moved @ self.axes).view(*statistics.shape[:-1], self.axes.shape[1])

    def learn(self, batches: Batches, count: int, seed: int) -> None:
        """Take mixture and principal axes from batches of normalised images.

        Args:
            batches: gives them.
            count: images in all of them.
            seed: of what is drawn.
        """
        rng = np.random.default_rng(seed)
        self.mixture.learn(np.concatenate(list(self._some(batches(), max(1, _SAMPLE // count), rng))), seed)
        # The axes are those of images in any view.
        found = [
            self.mixture.fisher(self.statistics(self.flat(batch), int(rng.integers(self.views)))) for batch in batches()
        ]
        self._whiten(torch.cat(found))

    def _some(self, batches: Iterable[Tensor], each: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
        """Some descriptors of each image, in views drawn for each batch."""
        for batch in batches:
            flat = self.flat(batch)[:, :, self.order(int(rng.integers(self.views)))]
            picked = torch.from_numpy(rng.integers(flat.shape[1], size=(len(flat), each)))
            yield flat.gather(1, picked[:, :, None].expand(-1, -1, flat.shape[2])).flatten(0, 1).numpy()

    def _whiten(self, vectors: Tensor) -> None:
        """Take the principal axes of vectors (n, outputs), scaled so that the short vectors have a deviation of 1."""
        centre = vectors.mean(dim=0)
        moved = (vectors - centre).double()
        # There are fewer images than components: by their products the axes are found far sooner.
        squares, sides = torch.linalg.eigh(moved @ moved.T)
        lengths = squares.flip(0).clamp_min(0.0).sqrt()
        kept = min(int((lengths > _NOISE * lengths[0]).sum()), self.axes.shape[1])
        self.centre.copy_(centre)
        self.axes.zero_()
        if kept:
            lengths = lengths[:kept]
            deviations = lengths / len(vectors) ** 0.5
            axes = moved.T @ sides.flip(1)[:, :kept] / lengths
            scaled = axes / torch.sqrt(deviations**2 + (self.shrink * deviations[0]) ** 2)
            self.axes[:, :kept].copy_(scaled / (moved @ scaled).std())
