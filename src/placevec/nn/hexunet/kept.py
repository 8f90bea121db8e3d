"""The arrays of a run over cones, kept on disk so that a run that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.files import new_array, write_text

_KEY = "run.json"


class KeptRun(NamedTuple):
    """What a run over cones writes, for `ConeBatchingUNet.run`.

    Attributes:
        out: for each level (n_l, dims_l) float32, on disk.
        done: (cones,) bool on disk, which cones are written.
    """

    out: list[NDArray[np.float32]]
    done: NDArray[np.bool_]


def kept_run(folder: Path, shapes: Sequence[tuple[int, int]], cones: int, key: str) -> KeptRun:
    """Open the arrays of a run in `folder`, or make them.

    Args:
        folder: of this run alone; to be removed by the caller when the vectors stand elsewhere.
        shapes: (n_l, dims_l) of each level that is to be written.
        cones: their number.
        key: what the run depends on, such as a digest of weights, cells and inputs. What another key left is begun
            again.

    Raises:
        DataError: a file there is cut short or not an array.
    """
    wanted = json.dumps({"key": key, "shapes": [list(shape) for shape in shapes], "cones": cones})
    names = [folder / f"level{level}.npy" for level in range(len(shapes))]
    mark = folder / _KEY
    files = [*names, folder / "done.npy"]
    if not mark.is_file() or mark.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        for name, shape in zip(names, shapes, strict=True):
            new_array(name, np.float32, shape)
        new_array(files[-1], np.bool_, (cones,))
        # Last, so that a run killed before this begins again.
        write_text(mark, wanted)
    try:
        *out, done = (np.load(name, mmap_mode="r+", allow_pickle=False) for name in files)
    except (ValueError, OSError) as error:
        raise DataError(f"{folder} holds a broken run ({error}); remove the folder and begin again") from error
    return KeptRun(out, done)
