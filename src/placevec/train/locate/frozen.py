"""Features of frozen backbones: computed once for all rows, kept beside the run, and read by every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from placevec.encoders.backbones import Backbone
from placevec.encoders.locator.net import LocatorNet
from placevec.encoders.network import fixed_batches
from placevec.train.locate.cache import cached
from placevec.train.locate.data import LocateData

_TOGETHER = 64  # images that go through a backbone at once
_STEP = 256  # rows between two marks of what is done

Told = Callable[[str, int, int], None]


def device_of(accelerator: str) -> torch.device:
    """Where the training loop would compute, for what is computed before and after it.

    The loop also knows accelerators without float64 (mps), on which distances cannot be computed: there the processor
    serves.
    """
    wanted = accelerator in ("auto", "cuda", "gpu")
    return torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")


def frozen_features(
    net: LocatorNet, data: LocateData, folder: Path, device: torch.device, progress: Told | None = None
) -> list[NDArray[np.float32]]:
    """The features (n, width) by each backbone of all n rows of the store; of those that cannot be read zeros.

    Args:
        net: whose backbones; they are in evaluation afterwards.
        data: the rows.
        folder: of the files; a call that was killed goes on there, and other weights or other rows begin anew.
        device: where the backbones compute; they come back from there.
        progress: called with a label, the rows done and all rows.
    """
    store, backbones = data.store, net.each()
    found = []
    for number, backbone in enumerate(backbones):
        backbone.eval()

        def compute(start: int, stop: int, backbone: Backbone = backbone) -> NDArray[np.float32]:
            at = np.arange(start, stop)
            rows = np.zeros((len(at), backbone.width), dtype=np.float32)
            good = store.readable[at]
            if good.any():
                images = torch.from_numpy(store.read(at[good]))
                rows[good] = np.concatenate(list(fixed_batches(backbone, images, _TOGETHER, device)))
            return rows

        told = None
        if progress is not None:
            label = f"features {number + 1} of {len(backbones)}"

            def told(done: int, total: int, label: str = label) -> None:
                progress(label, done, total)

        path = folder / f"features-{number}.npy"
        key = f"{data.key} {backbone.cache_key()}"
        backbone.to(device)
        found.append(
            cached(path, key, (len(store.rows), backbone.width), np.float32, compute, step=_STEP, progress=told)
        )
        backbone.cpu()
    return found
