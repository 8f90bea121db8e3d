"""All land of the Earth by one recipe, and a tile of 36,000 x 36,000 pixels: counts, time and memory.

First examples/landcover/planet.toml as it stands, on Blue Marble and ETOPO20, with few epochs, at the resolutions 4
and 5 of H3 (`--finest 6` adds one): cells = rows + skipped is claimed, and resolution 7 is projected from the counts
of the stencils up to 6 and the time of a cell. Then a tile of ESA WorldCover at resolution 8, whose open sea is left
out by the map and read as water: the stencil of its box, patches read as they are embedded, by co-occurrence
signatures and by an encoder that is trained for it. What is nothing but one class is flagged and embedded.

Needs the real data (``PLACEVEC_DATA``) and the outlines of the land (``placevec data fetch natural-earth-land``).
``python benchmarks/planet.py [--smoke]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Targets, fresh, machine, report, show

RECIPE = Path(__file__).parents[1] / "examples" / "landcover" / "planet.toml"
WORLDCOVER = "worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
BOX = (6.0, 0.0, 9.0, 3.0)
GROUND, PIXELS = 2000.0, 32
MEMORY_MB = 1500.0
EPOCHS = 3
FAR = 7  # the resolution that is projected


class Peak(threading.Thread):
    """The peak of resident memory of a process and all that it starts, looked at ten times a second, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.together = 0.0  # of all at one moment; pages that processes share are counted for each
        self.largest = 0.0  # of one of them

    def run(self) -> None:
        """Look until the process has ended."""
        import psutil

        try:
            root = psutil.Process(self.pid)
            while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
                sizes = []
                for process in [root, *root.children(recursive=True)]:
                    try:
                        sizes.append(process.memory_info().rss / 1e6)
                    except psutil.NoSuchProcess:
                        continue
                self.together = max(self.together, sum(sizes))
                self.largest = max(self.largest, *sizes)
                time.sleep(0.1)
        except (psutil.NoSuchProcess, ValueError):
            return


def recipe(folder: Path, *settings: str) -> tuple[dict[str, Any], Peak, float]:
    """Run the recipe in a folder; what its steps say, the memory they took, the time of all in seconds."""
    words = [part for one in settings for part in ("--set", one)]
    began = time.perf_counter()
    command = [sys.executable, "-m", "placevec", "run", str(RECIPE), "--quiet", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        peak = Peak(process.pid)
        peak.start()
        code = process.wait()
    peak.join()
    if code:
        raise SystemExit(f"the recipe ended with {code}")
    steps = json.loads((folder / "planet/results/run.json").read_text())["recipes"]["planet"]
    return steps, peak, time.perf_counter() - began


def planet(smoke: bool, finest: int, targets: Targets) -> None:
    """The recipe at several resolutions, in one folder: pairs and model are made once."""
    levels = [2, 3] if smoke else list(range(4, finest + 1))
    small = ["vars.samples=2000", "vars.epochs=1"] if smoke else [f"vars.epochs={EPOCHS}"]
    rows, counts, pace = [], {}, 0.0
    with tempfile.TemporaryDirectory() as name:
        for level in levels:
            steps, peak, seconds = recipe(
                Path(name), f"vars.resolution={level}", f"vars.collection=planet-{level}.lance", *small
            )
            if level == levels[0]:
                made = {step: f"{steps[step]['seconds']:.0f}" for step in ("pairs", "model")}
                show(
                    f"Once: {steps['pairs']['summary']['written']:,} patches of pairs, the model",
                    ["pairs, seconds", "training, seconds", "pairs that were learned from"],
                    [[made["pairs"], made["model"], f"{steps['model']['summary']['rows']:,}"]],
                )
            cells, embedded, stored = (steps[step]["summary"] for step in ("stencil", "cells", "index"))
            counts[level] = int(cells["cells"])
            pace = steps["cells"]["seconds"] / counts[level]
            lost = counts[level] - embedded["rows"] - embedded["skipped"]
            complete = lost == 0 and embedded["places"] == counts[level] and stored["rows"] == embedded["rows"]
            targets.claim(f"all land, res {level}: cells = rows + skipped, all in the store", complete, f"{lost} lost")
            parts = [f"{steps[step]['seconds']:.1f}" for step in ("stencil", "cells", "index")]
            memory = [f"{peak.largest:.0f}", f"{peak.together:.0f}"]
            rows.append(
                [str(level), f"{counts[level]:,}", f"{embedded['rows']:,}", f"{embedded['skipped']:,}", *parts,
                 f"{seconds:.0f}", f"{counts[level] / steps['cells']['seconds']:,.0f}", *memory]
            )  # fmt: skip
    show(
        "All land by examples/landcover/planet.toml (two processes embed)",
        ["res", "cells", "rows", "skipped", "stencil s", "embed s", "store s", "run s", "cells/s", "largest process MB",
         "together MB"],
        rows,
    )  # fmt: skip
    if smoke:
        return
    stencils = []
    for level in range(finest + 1, FAR):
        found = fresh(__file__, "--step", f"stencil:{level}")
        counts[level] = int(found["cells"])
        stencils.append([str(level), f"{counts[level]:,}", f"{found['seconds']:.1f}", f"{found['peak_mb']:.0f}"])
    if stencils:
        show("Stencils of all land alone", ["res", "cells", "seconds", "peak MB"], stencils)
    project(counts, pace)


def project(counts: dict[int, int], pace: float) -> None:
    """Cells and time at a resolution that nobody waits for here."""
    far, held = cells_at(counts, FAR), ""
    if len(counts) > 2:
        last = max(counts)
        off = cells_at({level: n for level, n in counts.items() if level < last}, last) / counts[last] - 1
        held = f"{off:+.2%}"
    show(
        f"Resolution {FAR}, projected: cells by area and coast, time by the pace of the last that was embedded",
        ["cells", "hours to embed here", "GB of float16 vectors", "the finest, projected from the others, is off by"],
        [[f"{far:,.0f}", f"{far * pace / 3600:.1f}", f"{far * 64 * 2 / 1e9:.1f}", held]],
    )


def cells_at(counts: dict[int, int], level: int) -> float:
    """Cells of all land: some by its area, 7 times as many a level, and some by its coast, about 7^(2/3)."""
    known = np.array(sorted(counts))
    terms = np.stack([7.0**known, 7.0 ** (2 * known / 3)], axis=1)
    found = np.array([counts[int(one)] for one in known], dtype=float)
    terms, goal = terms / found[:, None], np.ones(len(found))  # relative errors
    shares = np.linalg.lstsq(terms, goal, rcond=None)[0]
    return float(shares @ [7.0**level, 7.0 ** (2 * level / 3)])


def count(level: int) -> None:
    """The stencil of all land."""
    from placevec.tasks.stencil import make_stencil

    with tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        made = make_stencil("land", Path(name) / "cells.parquet", resolution=level)
        report(cells=made.card.cells, seconds=time.perf_counter() - began)


def tile_layers(folder: Path) -> list[Any]:
    from placevec.tasks.patch_inputs import LayerOption

    return [LayerOption(name="cover", raster=str(folder / WORLDCOVER), classes="worldcover", empty=80)]


def prepare(folder: Path, work: Path, resolution: int, samples: int) -> None:
    """The stencil of the tile's box, and an encoder trained on pairs of its land."""
    import shapely

    from placevec.tasks.inputs import Input
    from placevec.tasks.patches import area_patches
    from placevec.tasks.stencil import make_stencil
    from placevec.tasks.train import train

    box = {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(shapely.box(*BOX)))}
    (work / "box.geojson").write_text(json.dumps(box))
    began = time.perf_counter()
    made = make_stencil(work / "box.geojson", work / "cells.parquet", resolution=resolution)
    stencil = time.perf_counter() - began
    # Where the map has land or water: the open sea alone teaches nothing.
    layer = tile_layers(folder)[0].model_copy(update={"empty": None})
    pairs = area_patches(work / "pairs", [layer], ground_m=GROUND, pixels=PIXELS, samples=samples)
    read = time.perf_counter() - began - stencil
    settings = {"dims": 32, "widths": [16], "hidden": 64, "loop": {"epochs": 2}}
    config: dict[str, Any] = {"block": "h3:4", "folds": 5, "config": settings}
    train("landscape", work / "model", input=Input(on=str(work / "pairs")), **config)
    trained = time.perf_counter() - began - stencil - read
    written, skipped = pairs.written.written, pairs.written.skipped
    report(cells=made.card.cells, stencil=stencil, written=written, skipped=skipped, read=read, trained=trained)


def embed_tile(folder: Path, work: Path, encoder: str) -> None:
    """The table of the stencil's cells, patches read on the way."""
    from placevec.tasks.embed import embed
    from placevec.tasks.input_files import prepared
    from placevec.tasks.inputs import Input
    from placevec.tasks.patch_inputs import Patches

    patches = Patches(layers=tile_layers(folder), ground_m=GROUND, pixels=PIXELS)
    given, spec = prepared(
        Input(on=str(work / "cells.parquet"), patches=patches), str(work / "model") if encoder == "model" else encoder
    )
    began = time.perf_counter()
    made = embed(given.source(), spec, work / f"{encoder.replace(':', '-')}.parquet", sources=given.sources())
    report(
        seconds=time.perf_counter() - began,
        places=made.places,
        rows=made.rows,
        skipped=made.skipped,
        because=dict(made.skipped_because),
        flagged=dict(made.flagged),
    )


def sea(folder: Path, work: Path) -> dict[str, int]:
    """How many cells are flagged, and how many of those the map leaves empty as a whole: the open sea."""
    from placevec.sources.patches import PatchSource
    from placevec.table import open_table

    table = open_table(work / "model.parquet")
    places = table.places()
    flagged = places.take(np.flatnonzero(places.column("homogeneous")))
    layer = tile_layers(folder)[0].model_copy(update={"empty": None}).open()
    source = PatchSource(flagged, [layer], GROUND, PIXELS, min_valid=0.0)
    empty = water = 0
    for first in range(0, len(flagged), 1024):
        part = np.arange(first, min(first + 1024, len(flagged)))
        empty += sum(one.reason.startswith("no data") for one in source.read(part).skipped)
        water += int(
            (flagged.take(part).column("main_class") == layer.classes.names[layer.classes.codes.index(80)]).sum()
        )
    return {"flagged": len(flagged), "water": water, "empty": empty}


def tile(folder: Path, smoke: bool, targets: Targets) -> None:
    """The tile, each part in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        work = ["--work", name, *(["--smoke"] if smoke else [])]
        made = fresh(__file__, "--step", "prepare", *work)
        show(
            "WorldCover tile, res 8: before",
            ["cells of the stencil", "seconds", "patches of pairs", "seconds", "training, seconds", "peak MB"],
            [[f"{made['cells']:,}", f"{made['stencil']:.1f}", f"{made['written']:,}", f"{made['read']:.1f}",
              f"{made['trained']:.0f}", f"{made['peak_mb']:.0f}"]],
        )  # fmt: skip
        peak, rows = made["peak_mb"], []
        for encoder in ("features:cooccurrence", "model"):
            found = fresh(__file__, "--step", encoder, *work)
            lost = made["cells"] - found["rows"] - found["skipped"]
            targets.claim(f"tile, {encoder}: cells = rows + skipped", lost == 0, f"{lost} lost")
            peak = max(peak, found["peak_mb"])
            because = "; ".join(f"{count:,} {why.split('/')[-1]}" for why, count in found["because"].items())
            rows.append(
                [encoder, f"{found['places']:,}", f"{found['rows']:,}", f"{found['skipped']:,} ({because})",
                 f"{found['flagged'].get('homogeneous', 0):,}", f"{found['seconds']:.1f}",
                 f"{found['places'] / found['seconds']:,.0f}", f"{found['peak_mb']:.0f}"]
            )  # fmt: skip
        show(
            "WorldCover tile, res 8: embedded, one process, one thread",
            ["encoder", "cells", "rows", "skipped", "flagged", "seconds", "cells/s", "peak MB"],
            rows,
        )
        seen = sea(folder, Path(name))
        show(
            "Cells that are nothing but one class",
            ["flagged", "of them water", "of them left empty by the map"],
            [[f"{seen['flagged']:,}", f"{seen['water']:,}", f"{seen['empty']:,}"]],
        )
        targets.claim("tile: the open sea is embedded and flagged", 0 < seen["empty"] <= seen["water"], f"{seen}")
        targets.claim(f"tile: memory under {MEMORY_MB:.0f} MB in every process", peak < MEMORY_MB, f"{peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, for a look; its figures prove little")
    parser.add_argument("--finest", type=int, default=5, help="finest resolution of all land that is run")
    parser.add_argument("--only", choices=["planet", "tile"], help="one of the two parts")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(os.environ.get("PLACEVEC_DATA", ""))
    if not os.environ.get("PLACEVEC_DATA") or not (folder / WORLDCOVER).exists():
        print("skipped: the real rasters are not here; set PLACEVEC_DATA to the folder of data")
        return
    if options.step and options.step.startswith("stencil:"):
        count(int(options.step.removeprefix("stencil:")))
        return
    if options.step == "prepare":
        prepare(folder, options.work, 6 if options.smoke else 8, 500 if options.smoke else 20_000)
        return
    if options.step:
        embed_tile(folder, options.work, options.step)
        return
    print(machine())
    targets = Targets()
    if options.only != "tile":
        planet(options.smoke, options.finest, targets)
    if options.only != "planet":
        tile(folder, options.smoke, targets)
    targets.done()


if __name__ == "__main__":
    main()
