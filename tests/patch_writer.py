"""Writes a patch set in a process of its own, slowly enough to be killed: ``patch_writer.py FOLDER WORKERS SLOW``."""

import sys
import time

import numpy as np

import patch_fakes as fakes
from placevec.sources.patches import Layer, PatchSource, write_patches
from placevec.sources.rasters import Raster


class Slow(PatchSource):
    """Takes its time."""

    pause = 0.0

    def read(self, rows):
        time.sleep(self.pause)
        return super().read(rows)


def source(pause: float = 0.0) -> PatchSource:
    cover = fakes.classes(300, 300)
    cover[:60] = 0
    raster = Raster.from_array(cover, bounds=(10, 45, 10.3, 45.3), nodata=0)
    height = Raster.from_array(fakes.relief(300, 300), bounds=(10, 45, 10.3, 45.3))
    rng = np.random.default_rng(0)
    where = fakes.places(rng.uniform(10.02, 10.28, 200), rng.uniform(45.02, 45.29, 200))
    made = Slow(where, [Layer("cover", raster, fakes.TABLE), Layer("height", height)], 1500, 16)
    made.pause = pause
    return made


if __name__ == "__main__":
    folder, workers, pause = sys.argv[1:]
    write_patches(source(float(pause)), folder, samples_per_file=16, workers=int(workers))
