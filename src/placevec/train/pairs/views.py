"""What the head of an image tower reads, made once for all images: all before the head stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from placevec import files
from placevec.provenance import digest_json
from placevec.train.checkpoint import digest_of
from placevec.train.data import Rows
from placevec.train.objectives import first_process
from placevec.train.pairs.towers import ImageTower

Report = Callable[[int, int, Mapping[str, float]], None]

PART = 64  # images at a time
KEPT = 2**29  # numbers that are kept in memory, 1 GiB in float16; beyond it fewer views of an image, at least one
NAMES = "views-*.npy"  # of the files that keep them in the folder of a run


def views_of(tower: ImageTower, images: Rows, folder: Path | None = None, report: Report | None = None) -> Tensor:
    """What the head reads of all images (n, views, c) float16, on the CPU.

    Several processes that train together make it each for itself: it is the same for all, and not made twice on the
    way. The first one keeps it and reports.

    Args:
        tower: the tower, which has learned what stands before its head.
        images: n images.
        folder: where the result is kept, so that a run that goes on need not make it again; one of other images or
            of another tower is removed, see `forget_views` for the end.
        report: called as (images done, all images, figures).
    """
    # The head itself is changing, and says nothing about what it reads.
    key = digest_json([digest_of(tower, parameters=False), tower.shape, images.key])[:32]
    kept = None if folder is None else folder / NAMES.replace("*", key)
    found = None if kept is None else _read(kept)
    if found is None:
        found = _made(tower, images, report if first_process() else None)
        if kept is not None and first_process():
            forget_views(kept.parent)
            with files.whole(kept) as part, part.open("wb") as handle:
                np.save(handle, found.numpy())
    return found


def forget_views(folder: Path) -> None:
    """Remove what `views_of` keeps in the folder of a run."""
    for path in folder.glob(NAMES):
        files.remove(path)


def _made(tower: ImageTower, images: Rows, report: Report | None) -> Tensor:
    device = next(tower.buffers()).device
    out = torch.empty(0)
    for start in range(0, images.count, PART):
        rows = np.arange(start, min(start + PART, images.count))
        chips = torch.from_numpy(np.ascontiguousarray(images.read(rows)))
        views = tower.fixed(chips.to(device))
        if not start:
            most = max(1, min(views.shape[1], KEPT // (images.count * views.shape[2])))
            out = torch.empty(images.count, most, views.shape[2], dtype=torch.float16)
        out[start : start + len(rows)] = views[:, : out.shape[1]].half().cpu()
        if report is not None:
            done = start + len(rows)
            report(done, images.count, {"described": float(done)})
    return out


def _read(kept: Path) -> Tensor | None:
    """What is kept; None where there is nothing, or nothing that can be read."""
    try:
        return torch.from_numpy(np.load(kept, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
