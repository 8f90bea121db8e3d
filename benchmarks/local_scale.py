"""What the frame of the region gains over the whole globe at the same size of network, on real imagery.

The location encoder learns from the image vectors of Iberia (2,398 H3 cells; `placevec train
examples/location/iberia.toml` makes them) with the same harmonics, network and training, once on the globe and once in
the frame of the region. It is asked to find a place's own image among those of all held-out places: of cells scattered
between the training cells (what a map of a region asks for), and of whole blocks with a buffer of a chip's width (what
a region without any imagery would ask for). MRR, mean over seeds, with chance beside it.

    python benchmarks/local_scale.py iberia/tables/image.parquet [--seeds 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from placevec.encoders.location import LocationConfig
from placevec.measure.splits import block_split, holdout, random_split
from placevec.nn.position import Harmonics, Local, Scales
from placevec.nn.siren import SirenConfig
from placevec.table import read_table
from placevec.train.config import LoopConfig
from placevec.train.contrastive import LocationTraining, train_location

BUFFER_M = 60_000.0  # a chip's width
EPOCHS = 60


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="image vectors with coordinates")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    table = read_table(given.table)
    lonlat, vectors = table.places().lonlat(), table.vectors()
    print(f"{len(table):,} places, {vectors.shape[1]} dims, {EPOCHS} epochs, {given.seeds} seeds")
    print(f"{'encoding':<28}{'scattered MRR':>16}{'R@10':>8}{'blocks MRR':>16}{'R@10':>8}")
    encodings = {}
    for degrees in (6, 10, 20, 40):
        encodings[f"globe, L = {degrees}"] = Harmonics(degrees)
        encodings[f"region, L = {degrees}"] = Local(Harmonics(degrees))
    encodings["globe 10 + region 10 + 20"] = Scales((Harmonics(10), Local(Harmonics(10)), Local(Harmonics(20))))
    chance: dict[str, float] = {}
    for name, position in encodings.items():
        line = f"{name:<28}"
        for split in ("scattered", "blocks"):
            found = []
            for seed in range(given.seeds):
                if split == "scattered":
                    learn, val = holdout(random_split(np.arange(len(table)), 10, seed))
                else:
                    learn, val = holdout(block_split(lonlat, "h3:3", 10, seed, BUFFER_M))
                keep = learn | val
                config = LocationTraining(
                    encoder=LocationConfig(position=position, nn=SirenConfig(), dims=vectors.shape[1]),
                    loop=LoopConfig(
                        epochs=EPOCHS, batch_size=512, learning_rate=2e-3, weight_decay=0.1, patience=15, seed=seed
                    ),
                )
                with tempfile.TemporaryDirectory() as folder:
                    made = train_location(lonlat[keep], vectors[keep], val[keep], config, folder, space=table.space)
                found.append((made.result.metrics["mrr"], made.result.metrics["recall_at_10"]))
                chance[split] = made.result.metrics["chance_mrr"]
            mean, sd = np.mean(found, axis=0), np.std(found, axis=0)
            line += f"{mean[0]:>9.3f} ±{sd[0]:.3f}{mean[1]:>8.3f}"
        print(line, flush=True)
    print(f"chance MRR: {chance['scattered']:.3f} scattered, {chance['blocks']:.3f} blocks")


if __name__ == "__main__":
    main()
