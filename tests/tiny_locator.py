"""A tiny real locator on a made-up country, for tests: built in well under a second.

Two regions, "west" and "east" (or more), with towns of which images tell by their colour. It is as good as `steps` of
training make it; without any it is random weights over real cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from placevec.encoders.backbones import backbone_config, open_backbone
from placevec.encoders.locator import Decoding, Gallery, Locator, locator_card
from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, destination
from placevec.nn.locator import HeadConfig, LocatorHead

PIXELS = 16
BACKBONE = {"kind": "net", "net": {"width": 4, "stages": 2, "dims": 12, "pixels": PIXELS}}
HEAD = {
    "dims": 16,
    "region_hidden": 16,
    "cell_hidden": 16,
    "cell_hidden_large": 16,
    "region_dims": 4,
    "cell_dims": 6,
    "offset_hidden": 16,
    "offset_last": 8,
    "auxiliary_hidden": 8,
    "dropout": 0.0,
}
CELLS = GeoCellConfig(min_points=8, min_samples=3, dense_km=25.0, sparse_km=60.0, levels_km=(150.0,))


@dataclass(frozen=True, eq=False)
class Country:
    """Images with the places where they were taken."""

    regions: Regions
    lonlat: LonLat
    images: NDArray[np.uint8]  # (n, 3, PIXELS, PIXELS)
    ids: tuple[str, ...]


def country(n: int = 96, seed: int = 0, regions: int = 2) -> Country:
    """n images around four towns of each region; the colour of a town is its own."""
    rng = np.random.default_rng(seed)
    boxes = {name: shapely.box(4.0 * at, 40.0, 4.0 * at + 4.0, 44.0) for at, name in enumerate(names(regions))}
    town = rng.integers(0, 4 * regions, n)
    towns = np.random.default_rng(7)
    lon = 4.0 * (np.arange(4 * regions) // 4) + towns.uniform(0.8, 3.2, 4 * regions)
    lat = towns.uniform(40.8, 43.2, 4 * regions)
    colour = towns.uniform(30.0, 225.0, (4 * regions, 3))
    p = destination(LonLat(lon[town], lat[town]), rng.uniform(0, 360, n), rng.uniform(0, 20_000.0, n))
    noise = rng.normal(0.0, 12.0, (n, 3, PIXELS, PIXELS))
    images = np.clip(colour[town][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    return Country(Regions.of(boxes), p, images, tuple(f"train-{row:04d}" for row in range(n)))


def names(regions: int) -> list[str]:
    """The names of the regions."""
    return ["west", "east", *(f"region {number}" for number in range(3, regions + 1))][:regions]


def tiny_locator(
    *,
    seed: int = 0,
    n: int = 96,
    regions: int = 2,
    steps: int = 0,
    gallery: bool = True,
    head: dict[str, Any] | None = None,
    decoding: Decoding | None = None,
    **card: Any,
) -> Locator:
    """The locator of `country(n, seed, regions)`.

    Args:
        seed: of images and weights.
        n: training images.
        regions: how many regions.
        steps: of training, some 3 ms each.
        gallery: whether it keeps the training images.
        head: further settings of the head.
        decoding: of the answers.
        card: further fields of its card.
    """
    made = country(n, seed, regions)
    cells = build_cells(n, seed, regions)
    backbone = open_backbone(backbone_config(BACKBONE), seed=seed)
    backbone.learn_statistics(made.images)
    backbone.eval()
    config = HeadConfig.from_json({**HEAD, **(head or {})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reach = torch.from_numpy(np.maximum(cells.radius_m, 1000.0))
        net = LocatorHead(config, [backbone.width], np.diff(cells.starts).tolist(), reach)
        if steps:
            _train(net, backbone, made, cells, steps)
    recipe = {"pixels": PIXELS, "ground_m": 20_000.0, "phase": 1, **card.pop("recipe", {})}
    made_card = locator_card(config, **{"name": "tiny locator", "recipe": recipe, **card})
    found = Locator([backbone], net, cells, made_card, decoding=decoding)
    if not gallery:
        return found
    vectors = found.encode({"image": made.images})
    kept = Gallery.of(made.ids, made.lonlat, vectors, cells.rows(made.lonlat), [f"{one}.png" for one in made.ids])
    return Locator([backbone], net, cells, found.card, gallery=kept, decoding=decoding)


@cache
def build_cells(n: int = 96, seed: int = 0, regions: int = 2) -> GeoCells:
    """The geocells of `country(n, seed, regions)`."""
    made = country(n, seed, regions)
    return build_geocells(made.lonlat, made.regions, CELLS)


def _train(head: LocatorHead, backbone: Any, made: Country, cells: GeoCells, steps: int) -> None:
    """Cross-entropies of regions and cells on all images at once."""
    with torch.no_grad():
        features = backbone(torch.from_numpy(made.images))
    row = torch.from_numpy(cells.rows(made.lonlat))
    region = torch.from_numpy(made.regions.assign(made.lonlat))
    optimiser = torch.optim.Adam(head.parameters(), lr=5e-3)
    head.train()
    for _ in range(steps):
        fused = head.fuse([features])
        logits, cell = head.region_logits(fused), head.cell_logits(fused)
        loss = F.cross_entropy(logits, region) + F.nll_loss(head.joint_logs(logits, cell), row)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    head.eval()
