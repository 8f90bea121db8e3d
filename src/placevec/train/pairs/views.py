"""What the head of an image tower reads, made once for all images: all before the head stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from placevec import files
from placevec.train.checkpoint import digest_of
from placevec.train.data import Rows
from placevec.train.pairs.towers import ImageTower

Report = Callable[[int, int, Mapping[str, float]], None]

PART = 64  # images at a time
KEPT = 2**29  # numbers that are kept in memory, 1 GiB in float16; beyond it one view of an image instead of all


def views_of(tower: ImageTower, images: Rows, folder: Path | None = None, report: Report | None = None) -> Tensor:
    """What the head reads of all images (n, views, c) float16.

    Args:
        tower: the tower, which has learned what stands before its head.
        images: n images.
        folder: where the result is kept, so that a run that goes on need not make it again; one of other images or
            of another tower is removed.
        report: called as (images done, all images, figures).
    """
    # The head itself is changing, and says nothing about what it reads.
    key = digest_of(tower, parameters=False)[:16] + images.key[:16]
    kept = None if folder is None else folder / f"views-{key}.npy"
    if kept is not None and kept.is_file():
        return torch.from_numpy(np.load(kept))
    found: list[Tensor] = []
    most = 0
    for start in range(0, images.count, PART):
        rows = np.arange(start, min(start + PART, images.count))
        views = tower.fixed(torch.from_numpy(np.ascontiguousarray(images.read(rows))))
        most = most or max(1, min(views.shape[1], KEPT // max(1, images.count * views.shape[2])))
        found.append(views[:, :most].half())
        if report is not None:
            report(start + len(rows), images.count, {"described": float(start + len(rows))})
    every = torch.cat(found)
    if kept is not None:
        for other in kept.parent.glob("views-*.npy"):
            files.remove(other)
        with files.whole(kept) as part, part.open("wb") as handle:
            np.save(handle, every.numpy())
    return every
