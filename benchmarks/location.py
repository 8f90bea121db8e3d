"""Location encoders: spherical harmonics against two naive ways, the whole encoder, and the raster against points.

The peers are written here from their formulas, as the field's code has them, both in float64: "closed form" (each
order and degree by itself, from the double factorial up, scaled by factorials) and "polynomial" (for each order and
degree one line of code with an explicit polynomial in cos θ, as a computer algebra system prints it, with cos θ in
every term, compiled by TorchScript, which joins what is the same within a line). Ours are float32. All run on one
thread, and what is counted is its CPU time, so that the ratios are those of a core whatever else the machine does.

Rates are points per second of a core; a ratio is that of rates within a round: ``python benchmarks/location.py
[--quick]``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported: numpy's threads are not torch's to set

import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Targets, Times, arguments, fresh, in_turn, machine, report, show, spread
from numpy.polynomial import legendre as series
from numpy.polynomial import polynomial
from torch import Tensor

UNITS, DIMS = 512, 256  # of the network: 512, 512 -> 256
BOXES = {"globe": (-180.0, -90.0, 180.0, 90.0), "Iberia": (-9.6, 36.0, 3.3, 43.8)}
COLUMNS = 1024
REPEATS = 8  # of an encoding that takes milliseconds beside peers that take half a second


def lonlat_of(n: int) -> Tensor:
    """N points, even over the sphere: (n, 2) degrees."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.column_stack([rng.uniform(-180, 180, n), np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))]))


def closed_form(lonlat: Tensor, degrees: int) -> Tensor:
    """Y_lm one by one: P_lm by the unnormalised recurrence in l from (2m-1)!!, times the root of the factorials."""
    lon, theta = torch.deg2rad(lonlat[:, 0]), torch.deg2rad(90.0 - lonlat[:, 1])
    x = torch.cos(theta)
    return torch.stack(
        [_scaled(n, abs(m), _legendre(n, abs(m), x)) * _wave(m, lon) for n in range(degrees) for m in range(-n, n + 1)],
        dim=1,
    )


def _legendre(degree: int, order: int, x: Tensor) -> Tensor:
    value = torch.ones_like(x)
    root, factor = torch.sqrt((1 - x) * (1 + x)), 1.0
    for _ in range(order):
        value = value * (-factor) * root
        factor += 2.0
    if degree == order:
        return value
    before, value = value, x * (2.0 * order + 1.0) * value
    for n in range(order + 2, degree + 1):
        before, value = value, ((2.0 * n - 1.0) * x * value - (n + order - 1.0) * before) / (n - order)
    return value


def _scaled(degree: int, order: int, value: Tensor) -> Tensor:
    ratio = math.factorial(degree - order) / math.factorial(degree + order)
    return math.sqrt((2.0 * degree + 1.0) * ratio / (4 * math.pi)) * value


def _wave(order: int, lon: Tensor) -> Tensor | float:
    if order == 0:
        return 1.0
    return math.sqrt(2.0) * (torch.cos(order * lon) if order > 0 else torch.sin(-order * lon))


class Polynomials:
    """Y_lm by the coefficients of d^m/dx^m P_l in powers of x = cos θ, times sin^m θ = (1 - x²)^(m/2)."""

    def __init__(self, degrees: int) -> None:
        names, lines = [], []
        for n in range(degrees):
            powers = series.leg2poly(np.eye(n + 1)[n])
            for m in range(-n, n + 1):
                ratio = math.factorial(n - abs(m)) / math.factorial(n + abs(m))
                scale = (-1) ** m * math.sqrt((2 * n + 1) * ratio / (4 * math.pi) * (2.0 if m else 1.0))
                names.append(f"y{n}_{'m' if m < 0 else 'p'}{abs(m)}")
                line = _line(m, scale, polynomial.polyder(powers, abs(m)))
                lines.append(f"def {names[-1]}(theta, phi):\n    return {line}\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made = torch.jit.CompilationUnit("".join(lines))
        self.functions = [getattr(made, name) for name in names]

    def __call__(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, L²) float64."""
        lon, theta = torch.deg2rad(lonlat[:, 0]), torch.deg2rad(90.0 - lonlat[:, 1])
        found = [function(theta, lon) for function in self.functions]
        return torch.stack([one if torch.is_tensor(one) else torch.full_like(lon, one) for one in found], dim=1)


def _line(m: int, scale: float, factors: np.ndarray) -> str:
    """The expression of one order and degree, such as 0.3*(1.0 - cos(θ)**2)**0.5*(7.5*cos(θ)**2 - 1.5)*sin(φ)."""
    x = "torch.cos(theta)"
    powers = [(float(factors[k]), k) for k in range(len(factors) - 1, -1, -1) if factors[k]]
    terms = [f"{c!r}" + ("" if k == 0 else f"*{x}" if k == 1 else f"*{x}**{k}") for c, k in powers]
    line = f"{scale!r}*({' + '.join(terms)})"
    if m:
        line += f"*(1.0 - {x}**2)" + ("" if abs(m) == 2 else f"**{abs(m) // 2 if m % 2 == 0 else abs(m) / 2}")
        line += f"*torch.{'sin' if m < 0 else 'cos'}({abs(m)}*phi)"
    return line


def per_point(contestants: dict[str, tuple[int, Callable[[], Any]]], rounds: int) -> Times:
    """CPU seconds per point of contestants that each take their own number of points."""
    # TorchScript watches two rounds and compiles in the third.
    runs = {name: run for name, (_, run) in contestants.items()}
    times = in_turn(runs, rounds, warm_up=4, clock=time.process_time)
    return Times({name: [s / contestants[name][0] for s in seconds] for name, seconds in times.seconds.items()})


def encoder_of(degrees: int) -> Any:
    from placevec.encoders.location import LocationConfig, LocationEncoder
    from placevec.nn.position import Harmonics
    from placevec.nn.siren import SirenConfig

    shape = LocationConfig(position=Harmonics(degrees), nn=SirenConfig(capacity=UNITS, layers=2), dims=DIMS)
    return LocationEncoder.untrained(shape)


def rates(times: Times) -> str:
    """The median rates of all contestants."""
    return ", ".join(f"{name} {1 / times.median(name):,.0f}" for name in times.seconds)


def points(degrees: int, n: int, few: int, rounds: int, targets: Targets) -> None:
    """The encoding alone, and the whole encoder, at points."""
    from placevec.nn.harmonics import spherical_harmonics

    many, some = lonlat_of(n), lonlat_of(few)
    polynomials = Polynomials(degrees)
    exact = spherical_harmonics(some[:, 0], some[:, 1], degrees, torch.float64)
    fast = spherical_harmonics(some[:, 0], some[:, 1], degrees)
    error = {
        "closed form": float((closed_form(some, degrees) - exact).abs().max()),
        "polynomial": float((polynomials(some) - exact).abs().max()),
        "ours": float((fast.double() - exact).abs().max()),
    }

    def ours(dtype: torch.dtype) -> None:
        for _ in range(REPEATS):
            spherical_harmonics(many[:, 0], many[:, 1], degrees, dtype)

    alone = per_point(
        {
            "closed form": (few, lambda: closed_form(some, degrees)),
            "polynomial": (few, lambda: polynomials(some)),
            "ours": (REPEATS * n, lambda: ours(torch.float32)),
            "ours float64": (REPEATS * n, lambda: ours(torch.float64)),
        },
        rounds,
    )
    encoder = encoder_of(degrees)
    double = encoder_of(degrees).net.nn.double()
    lonlat = many.numpy()
    whole = per_point(
        {
            "closed form": (few, lambda: double(closed_form(some, degrees))),
            "polynomial": (few, lambda: double(polynomials(some))),
            "ours": (n, lambda: encoder.encode({"lonlat": lonlat})),
        },
        rounds,
    )
    head = ["", "closed form (float64)", "polynomial (float64)"]
    rows = [
        [what, *(spread(times.ratio("ours", peer)) for peer in ("closed form", "polynomial"))]
        for what, times in (("encoding alone: ours faster by", alone), ("whole encoder: ours faster by", whole))
    ]
    rows.append(["largest error of the peer", *(f"{error[peer]:.1e}" for peer in ("closed form", "polynomial"))])
    show(f"L = {degrees}, points; ours float32, largest error {error['ours']:.1e}", head, rows)
    print(f"\npoints per second of a core, encoding: {rates(alone)}; whole: {rates(whole)}")
    if degrees == 40:
        for peer in ("closed form", "polynomial"):
            ratio = alone.ratio("ours", peer)
            targets.claim(f"L = 40, encoding: at least 40 times the {peer}", ratio[0] >= 40, spread(ratio))
            ratio = whole.ratio("ours", peer)
            targets.claim(f"L = 40, whole encoder: at least 5 times the {peer}", ratio[0] >= 5, spread(ratio))


def raster(name: str, degrees: int, rows: int, few: int, rounds: int, targets: Targets) -> None:
    """The first layer and the whole encoder on a raster, against our own point path and the closed form."""
    from placevec.encoders.location import BATCH
    from placevec.geo.pixel_grid import PixelGrid
    from placevec.nn.dense import linear
    from placevec.nn.harmonics_grid import HarmonicsGrid

    grid = PixelGrid.of(BOXES[name], f"{COLUMNS}x{rows}")
    lon, lat = np.meshgrid(grid.lons, grid.lats)
    lonlat = np.column_stack([lon.ravel(), lat.ravel()])
    encoder, some = encoder_of(degrees), lonlat_of(few)
    double = encoder_of(degrees).net.nn.double()
    weight = encoder.net.nn.first()[0].detach()
    pixels, lats = torch.from_numpy(lonlat), torch.from_numpy(grid.lats)
    layer, ready = HarmonicsGrid(weight, degrees, torch.from_numpy(grid.lons)), encoder.rows_at(grid.lons)

    def first_points() -> None:
        for start in range(0, len(pixels), BATCH):
            linear(encoder.net.position(pixels[start : start + BATCH]), weight, None)  # as the encoder does

    def first_rows() -> None:
        for start in range(0, rows, 8):
            layer(lats[start : start + 8])

    near = encoder.net.position(pixels[:8192]) @ weight.T
    off = float((layer(lats[:8]).flatten(0, 1) - near).abs().max() / near.abs().max())
    n = len(lonlat)
    times = per_point(
        {
            "first, points": (n, first_points),
            "first, rows": (n, first_rows),
            "whole, points": (n, lambda: encoder.encode({"lonlat": lonlat})),
            "whole, rows": (n, lambda: ready(grid.lats)),
            "whole, closed form": (few, lambda: double(closed_form(some, degrees))),
        },
        rounds,
    )
    first = times.ratio("first, rows", "first, points")
    whole = times.ratio("whole, rows", "whole, points")
    closed = times.ratio("whole, rows", "whole, closed form")
    show(
        f"L = {degrees}, a raster of {COLUMNS} x {rows} ({name}); first layers apart by {off:.1e} of the largest",
        ["rows faster by", "ratio"],
        [
            ["encoding and first layer, than our points", spread(first)],
            ["whole encoder, than our points", spread(whole)],
            ["whole encoder, than the closed form", spread(closed)],
        ],
    )
    print(f"\npixels per second of a core: {rates(times)}")
    if degrees == 40:
        targets.claim(f"{name}: the first layer at least 15 times our point path", first[0] >= 15, spread(first))
        targets.claim(f"{name}: the whole at least 2.2 times our point path", whole[0] >= 2.2, spread(whole))
        targets.claim(f"{name}: the whole at least 10 times the closed form", closed[0] >= 10, spread(closed))
        targets.claim(f"{name}: rows equal points to 1e-5 of the largest", off <= 1e-5, f"{off:.1e}")


def memory(rows: int, targets: Targets) -> None:
    """The peak of a raster of H rows and of one of 4H, each in a process of its own."""
    few, many = (fresh(__file__, "--step", "raster", "--path", str(height)) for height in (rows, 4 * rows))
    show(
        "embed_grid, 512 columns, 32 dims, each in a process of its own",
        ["rows", "raster MB", "peak MB, interpreter and libraries included"],
        [[f"{part['rows']}", f"{part['size_mb']:.0f}", f"{part['peak_mb']:.0f}"] for part in (few, many)],
    )
    ratio = many["peak_mb"] / few["peak_mb"]
    targets.claim("four times the rows, the same memory (within 10 %)", ratio <= 1.1, f"{ratio:.2f}x")


def make_raster(rows: int) -> None:
    """One raster, in this process; reports its size and the peak of memory."""
    from placevec.encoders.location import LocationConfig, LocationEncoder
    from placevec.nn.position import Harmonics
    from placevec.nn.siren import SirenConfig
    from placevec.tasks.embed_grid import embed_grid

    encoder = LocationEncoder.untrained(LocationConfig(position=Harmonics(10), nn=SirenConfig(64), dims=32))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "region.tif"
        embed_grid(encoder, out, bbox=BOXES["Iberia"], resolution=f"512x{rows}")
        size = out.stat().st_size / 1e6
    report(rows=rows, size_mb=size)


@torch.no_grad()
def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    if options.step:
        make_raster(int(options.path))
        return
    print(f"{machine()}, torch {torch.__version__}, one thread")
    targets = Targets()
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    few = 1024 if options.quick else 4096
    points(10, 16_384, few, rounds, targets)
    points(40, 4096, few, rounds, targets)
    for name in BOXES:
        raster(name, 40, 16 if options.quick else 32, few // 2, rounds, targets)
    memory(512 if options.quick else 1536, targets)
    if options.quick:
        print("\nSmall sizes, for a look: the claims are not tested here.")
        return
    targets.done()


if __name__ == "__main__":
    main()
