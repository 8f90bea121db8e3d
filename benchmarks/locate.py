"""Is locating in batches worth it, and does memory stay bounded? A locator of a whole country, untrained.

Seven regions with some hundred geocells and two small image encoders: what `examples/geolocation` trains. The same
images are located one by one (`locate_one`) and in batches (`locate_many`), in turn; what counts is the median ratio.
Memory is the peak of fresh processes that locate few and many images of a folder::

    python benchmarks/locate.py [--quick] [--rounds 5]

Credible regions are drawn one image at a time either way, so they are measured apart.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, arguments, fresh, in_turn, machine, report, show, spread

PIXELS, REGIONS, PLACES = 32, 7, 3000
FEW, MANY = 100, 800


def main() -> None:
    """Measure, print, and check the claims."""
    options = arguments(__doc__ or "")
    if options.step:
        located = locate_folder(Path(options.path), int(options.step))
        report(located=located)
        return
    count = 24 if options.quick else 160
    few, many = (40, 160) if options.quick else (FEW, MANY)
    rounds = 2 if options.quick else options.rounds
    print(machine())
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        locator = make(folder / "locator")
        cells = len(locator.geocells)
        images = pictures(count)
        # Outlines take so long that a few images show it.
        rows = [compare(locator, images, rounds, False), compare(locator, images[: count // 5], min(rounds, 3), True)]
        head = ["what", "one by one, CPU ms an image", "in batches", "ratio"]
        show(f"{count} images, {cells} cells, {REGIONS} regions", head, [row for row, _ in rows])
        write_photos(folder / "photos", many)
        peaks = {n: fresh(__file__, "--step", str(n), "--path", str(folder)) for n in (few, many)}
        base = fresh(__file__, "--step", "0", "--path", str(folder))["peak_mb"]
        lines = [[f"{n:,}", f"{peak['peak_mb']:,.0f} MB"] for n, peak in peaks.items()]
        show("Peak of memory, the model loaded", ["images", "peak"], [["0", f"{base:,.0f} MB"], *lines])
    targets = Targets()
    ratio = rows[0][1]
    targets.claim("in batches at least 4 times as fast as one by one", ratio[0] >= 4.0, spread(ratio))
    grown = peaks[many]["peak_mb"] - peaks[few]["peak_mb"]
    bounded = grown < 0.1 * peaks[few]["peak_mb"]
    targets.claim(f"{many // few} times the images, the same memory", bounded, f"{grown:+.0f} MB")
    done = all(peak["located"] == n for n, peak in peaks.items())
    targets.claim("every image is located", done, ", ".join(str(peak["located"]) for peak in peaks.values()))
    targets.done()


def compare(locator: Any, images: np.ndarray, rounds: int, regions: bool) -> tuple[list[str], Any]:
    """A line of the table, and the ratio."""
    from placevec.encoders.locator import Shown

    shown = Shown(regions=regions)
    times = in_turn(
        {
            "one": lambda: [locator.locate_one(image, shown=shown) for image in images],
            "many": lambda: list(locator.locate_many(images, shown=shown)),
        },
        rounds,
        clock=time.process_time,  # other programs on the machine then count for neither
    )
    ratio = times.ratio("many", "one")
    each = [f"{1000 * times.median(name) / len(images):.1f}" for name in ("one", "many")]
    return ["with credible regions" if regions else "points, evidence", *each, spread(ratio)], ratio


def locate_folder(folder: Path, count: int) -> int:
    """Locate the first so many photos with the model; how many were."""
    from placevec.encoders.locator import Locator
    from placevec.tasks.locate import locate

    locator = Locator.load(folder / "locator")
    source = locator.open(folder / "photos")
    if not count:
        return 0
    return locate(source, locator, out=folder / f"{count}.jsonl", limit=count).located


def make(folder: Path) -> Any:
    """An untrained locator over cells of made-up places, saved in `folder`, with a gallery of all places."""
    import shapely
    import torch

    from placevec.encoders.backbones import backbone_config, open_backbone
    from placevec.encoders.locator import Gallery, Locator, locator_card
    from placevec.geo.geocells import GeoCellConfig, build_geocells
    from placevec.geo.regions import Regions
    from placevec.geo.sphere import LonLat, destination
    from placevec.nn.locator import HeadConfig, LocatorHead

    rng = np.random.default_rng(0)
    regions = Regions.of({f"region {r}": shapely.box(60 + 2 * r, 24, 62 + 2 * r, 36) for r in range(REGIONS)})
    towns = LonLat(rng.uniform(60.2, 73.8, 150), rng.uniform(24.5, 35.5, 150))
    near = towns[rng.integers(0, 150, PLACES)]
    places = destination(near, rng.uniform(0, 360, PLACES), rng.exponential(15_000.0, PLACES))
    inside = regions.assign(places) >= 0
    places = places[inside]
    cells = build_geocells(places, regions, GeoCellConfig(min_points=10, min_samples=4, dense_km=15.0))
    nets = [
        {"kind": "net", "net": {"width": width, "stages": 3, "dims": 64, "stride": 2, "pixels": PIXELS}}
        for width in (8, 12)
    ]
    backbones = [open_backbone(backbone_config(net), seed=seed) for seed, net in enumerate(nets)]
    config = HeadConfig(dims=128, dropout=0.0)
    torch.manual_seed(0)
    counts = np.diff(cells.starts).tolist()
    reach = torch.from_numpy(np.maximum(cells.radius_m, 1000.0))
    head = LocatorHead(config, [one.width for one in backbones], counts, reach)
    vectors = rng.normal(size=(len(places), config.dims))
    gallery = Gallery.of([f"t{row:05d}" for row in range(len(places))], places, vectors, cells.rows(places))
    locator = Locator(backbones, head, cells, locator_card(config), gallery=gallery)
    return locator.save(folder)


def pictures(count: int) -> np.ndarray:
    """Random blocks of colour."""
    small = np.random.default_rng(1).integers(0, 255, (count, 3, 8, 8), dtype=np.uint8)
    return small.repeat(PIXELS // 8, axis=2).repeat(PIXELS // 8, axis=3)


def write_photos(folder: Path, count: int) -> None:
    """JPEG files of 480 x 360 pixels."""
    from PIL import Image

    folder.mkdir()
    for row, small in enumerate(pictures(count)):
        Image.fromarray(small.transpose(1, 2, 0)).resize((480, 360)).save(folder / f"{row:05d}.jpg", quality=80)


if __name__ == "__main__":
    main()
