"""A small set in the form that Kaggle has of RSICD: shapes seen from above, and captions that are true of them.

``train.csv``, ``valid.csv`` and ``test.csv`` have a row an image with its captions as one text, written in each of the
three ways in which such tables come (Python's, JSON's and NumPy's); the images lie in ``images/train`` and so on.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SPLITS = {"train": "train", "valid": "val", "test": "test"}  # tables and the folders of their images
COUNTS = {"train": 12, "valid": 4, "test": 4}  # images of a kind of scene
GROUNDS = {"grass": (70, 130, 60), "sand": (205, 185, 140), "bare soil": (140, 115, 95)}
NUMBERS = ("one", "two", "three")


@dataclass(frozen=True)
class Kind:
    """A kind of scene."""

    word: str  # what stands in captions
    many: str  # several of them
    shape: str  # disc, square, ring or bar
    colour: tuple[int, int, int]  # of the objects
    looks: str  # its colour in words


KINDS = {
    "pond": Kind("pond", "ponds", "disc", (30, 70, 190), "blue"),
    "storagetanks": Kind("storage tank", "storage tanks", "disc", (240, 240, 240), "white"),
    "house": Kind("house", "houses", "square", (185, 50, 40), "red"),
    "warehouse": Kind("warehouse", "warehouses", "square", (60, 60, 70), "dark"),
    "stadium": Kind("stadium", "stadiums", "ring", (225, 140, 40), "orange"),
    "runway": Kind("runway", "runways", "bar", (150, 150, 160), "grey"),
}
_SIZE = 0.17  # half the side of an object, as a share of the image's


def write(
    folder: Path,
    *,
    counts: dict[str, int] | None = None,
    size: int = 48,
    labels: bool = False,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
) -> Path:
    """Write such a set.

    Args:
        folder: that is made.
        counts: images of a kind in each table, by the table's name; 0 leaves the table out.
        size: side of an image in pixels.
        labels: write the kind of a scene as a column; Kaggle's table has none.
        kinds: which scenes.
        seed: of where objects stand, of what ground, and of noise.
    """
    rng = np.random.default_rng(seed)
    for table, each in (counts or COUNTS).items():
        if not each:
            continue
        where = folder / "images" / SPLITS[table]
        where.mkdir(parents=True)
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["filename", "captions", *(["label"] if labels else [])])
            for number in range(each):
                for at, kind in enumerate(kinds):
                    ground = list(GROUNDS)[(number + at) % len(GROUNDS)]
                    count = 1 + number % len(NUMBERS)
                    name = f"{kind}_{number}.jpg"
                    image = scene(KINDS[kind], ground, count, size, rng)
                    Image.fromarray(image).save(where / name, quality=92)
                    cell = written(captions(KINDS[kind], ground, count), number + at)
                    rows.writerow([f"rsicd_images/{name}", cell, *([kind] if labels else [])])
    return folder


def captions(kind: Kind, ground: str, count: int) -> tuple[str, ...]:
    """What is true of a scene, with what makes such lists hard to read: quotes, commas, an apostrophe."""
    number, word = NUMBERS[count - 1], kind.word if count == 1 else kind.many
    return (
        f"{number} {kind.looks} {word} on {ground} .",
        f"it's {number} {word} , seen from above .",
        f'there {"is" if count == 1 else "are"} {number} "{kind.looks}" {word} , and {ground} around .',
    )


def written(texts: Sequence[str], way: int) -> str:
    """A list of captions as one text: Python's way of writing it, JSON's or NumPy's."""
    return (repr(list(texts)), json.dumps(texts), str(np.array(texts, dtype=object)))[way % 3]


def scene(kind: Kind, ground: str, count: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (size, size, 3): `count` objects, each in a quarter of its own."""
    image = np.empty((size, size, 3))
    image[:] = GROUNDS[ground]
    y, x = np.mgrid[:size, :size] / size
    for quarter in rng.permutation(4)[:count]:
        across, down = 0.25 + 0.5 * (quarter % 2), 0.25 + 0.5 * (quarter // 2)
        dx, dy = (axis - at - rng.uniform(-0.05, 0.05) for axis, at in ((x, across), (y, down)))
        image[_inside(kind.shape, dx, dy)] = kind.colour
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _inside(shape: str, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.bool_]:
    far = np.hypot(dx, dy)
    if shape == "disc":
        return far < _SIZE
    if shape == "ring":
        return (far < _SIZE) & (far > 0.55 * _SIZE)
    if shape == "bar":
        return (np.abs(dx) < 1.3 * _SIZE) & (np.abs(dy) < 0.35 * _SIZE)
    return (np.abs(dx) < 0.85 * _SIZE) & (np.abs(dy) < 0.85 * _SIZE)
