"""Evaluating image-text retrieval: blocks of scores against one query at a time, and the memory of large sets.

python benchmarks/retrieval_evaluation.py [--quick] [--rounds N]

The sizes are those of the RSICD test split (1,093 images, 5,465 captions) with vectors of 256 components. The plain
forms are the one that most repositories hold (scores of a query, argsort, a search for its own) and the same with
Python's sort.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from common import Targets, Times, arguments, fresh, in_turn, machine, report, show, spread

from placevec.measure.retrieval import DIRECTIONS, Pairing, rank_all

SPLIT = (1093, 5, 256)
QUICK = (300, 5, 64)
LARGE = (100_000, 5, 256)
PART = (4096, 5, 256)  # of the images of the large set that ask, and are asked for
GIB = 2.0**30


def make_set(images: int, each: int, dims: int, noise: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of images, those of their captions, and the image of each caption; nothing as large besides."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((images, dims), dtype=np.float32)
    owner = np.repeat(np.arange(images), each)
    captions = np.empty((len(owner), dims), dtype=np.float32)
    for start in range(0, len(owner), 4096):
        part = base[owner[start : start + 4096]]
        part += np.float32(noise) * rng.standard_normal(part.shape, dtype=np.float32)
        captions[start : start + 4096] = part / np.linalg.norm(part, axis=1, keepdims=True)
    base /= np.sqrt(np.einsum("ij,ij->i", base, base))[:, None]
    return base, captions, owner


def texts_of(owner: np.ndarray) -> list[str]:
    """Captions of which every seventh is shared with the next image, as in real sets."""
    return [f"a picture of {row + (k % 7 == 0)}" if k % 7 == 0 else f"caption {k}" for k, row in enumerate(owner)]


def by_argsort(images: np.ndarray, captions: np.ndarray, owner: np.ndarray) -> dict[str, np.ndarray]:
    """One query at a time in numpy: official ranks alone, ties by chance."""
    found: dict[str, list[int]] = {direction: [] for direction in DIRECTIONS}
    for row, image in enumerate(images):
        order = np.argsort(-(captions @ image))
        found[DIRECTIONS[0]].append(1 + int(np.flatnonzero(owner[order] == row)[0]))
    for row, caption in enumerate(captions):
        order = np.argsort(-(images @ caption))
        found[DIRECTIONS[1]].append(1 + int(np.flatnonzero(order == owner[row])[0]))
    return {name: np.array(ranks) for name, ranks in found.items()}


def by_sort(images: np.ndarray, captions: np.ndarray, owner: np.ndarray) -> dict[str, np.ndarray]:
    """The same with Python's sort and a loop over the ranking."""
    own = owner.tolist()
    found: dict[str, list[int]] = {direction: [] for direction in DIRECTIONS}
    for row, image in enumerate(images):
        scores = (captions @ image).tolist()
        order = sorted(range(len(scores)), key=lambda t: -scores[t])
        found[DIRECTIONS[0]].append(1 + next(rank for rank, t in enumerate(order) if own[t] == row))
    for row, caption in enumerate(captions):
        scores = (images @ caption).tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        found[DIRECTIONS[1]].append(1 + order.index(own[row]))
    return {name: np.array(ranks) for name, ranks in found.items()}


def evaluation(rounds: int = 5, quick: bool = False, targets: Targets | None = None, *, large: bool = True) -> None:
    """Both directions of a test split in blocks, against the plain loops; with `large`, the memory of a large set."""
    images, captions, owner = make_set(*(QUICK if quick else SPLIT))
    pairing = Pairing.of(owner, len(images), texts_of(owner))

    def ours() -> Any:
        return rank_all(images, captions, [pairing.own(), pairing.equal()])

    contestants = {
        "placevec, both definitions": ours,
        "numpy, one query at a time": lambda: by_argsort(images, captions, owner),
        "Python's sort": lambda: by_sort(images, captions, owner),
    }
    own, truth = ours()[0], by_argsort(images, captions, owner)
    ways = (own.image_to_text, own.text_to_image)
    agree = float(
        np.mean([(way.ranks("expected") == truth[name]).mean() for way, name in zip(ways, DIRECTIONS, strict=True)])
    )
    times: Times = in_turn(contestants, rounds, clock=time.process_time)
    rows = [
        [
            name,
            f"{1000 * times.median(name):,.0f}",
            "1" if name.startswith("placevec") else spread(times.ratio("placevec, both definitions", name)),
        ]
        for name in contestants
    ]
    show(
        f"{len(images):,} images x {len(captions):,} captions x {images.shape[1]}, both directions",
        ["form", "processor ms", "placevec faster by"],
        rows,
    )
    print(f"\nRanks equal to those of argsort: {agree:.4%} (the rest differ in the last bits of a score).")
    if targets is not None:
        targets.claim("ranks agree with the plain loop", agree > 0.9999, f"{agree:.4%}")
        if not quick:
            ratio = times.ratio("placevec, both definitions", "numpy, one query at a time")
            targets.claim("at least 3 times as fast as numpy one query at a time", ratio[0] >= 3.0, spread(ratio))
    if large and not quick:
        _memory(targets)


def _memory(targets: Targets | None) -> None:
    """Peaks of fresh processes that hold the vectors of the large set and rank a part of it, or only hold them."""
    held = fresh(__file__, "--step", "hold")
    ranked = fresh(__file__, "--step", "rank")
    extra = (ranked["peak_mb"] - held["peak_mb"]) * 1e6 / GIB
    n, each, _ = LARGE
    part = PART[0] / n
    full = n * n * each * 4 / GIB
    show(
        f"{n:,} images x {n * each:,} captions, {part:.1%} of the images asking",
        ["peak with vectors, GiB", "beyond the vectors, GiB", "all scores would take, GiB", "all would take, minutes"],
        [
            [
                f"{ranked['peak_mb'] * 1e6 / GIB:.2f}",
                f"{extra:.2f}",
                f"{full:,.0f}",
                f"{ranked['seconds'] / part / 60:.0f}",
            ]
        ],
    )
    if targets is not None:
        targets.claim("100k x 500k: less than 0.5 GiB beyond the vectors", extra < 0.5, f"{extra:.2f} GiB")


def _step(name: str) -> None:
    """What a fresh process does: all captions are there, and a part of the images asks for them."""
    images, captions, owner = make_set(*LARGE)
    owner %= PART[0]  # so many images stand for all: the work is proportional
    texts = texts_of(owner)
    seconds = 0.0
    if name == "rank":
        asked = images[: PART[0]]
        pairing = Pairing.of(owner, len(asked), texts)
        start = time.process_time()
        rank_all(asked, captions, [pairing.own(), pairing.equal()])
        seconds = time.process_time() - start
    report(seconds=seconds)


def main() -> None:
    options = arguments(__doc__ or "")
    if options.step:
        _step(options.step)
        return
    print(machine())
    targets = Targets()
    evaluation(options.rounds, options.quick, targets)
    targets.done()


if __name__ == "__main__":
    sys.exit(main())
