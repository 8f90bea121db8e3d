"""A tiny training of images with captions, as a script: python tiny_pairs.py FOLDER [SECONDS_PER_STEP [SETTINGS]].

The images show what their captions say: a colour for what it is, stripes for what stands beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from placevec.encoders.pair import open_pair
from placevec.tasks.settings import laid_over
from placevec.train.pairs import PairTraining, TrainedPair, train_pairs

KINDS = {"river": (40, 60, 200), "forest": (30, 140, 40), "harbour": (150, 150, 150), "tennis courts": (200, 80, 40)}
BESIDE = ("trees", "ships")
CONFIG: Mapping[str, Any] = {
    "dims": 12,
    "pixels": 16,
    "image": {"kind": "vit", "patch": 4, "width": 16, "depth": 1, "heads": 2, "drop_path": 0.1},
    "text": {"kind": "words", "width": 16, "layers": 1, "heads": 2, "context": 12},
    "augment": {"min_scale": 0.8, "brightness": 0.05},
    "loop": {
        "epochs": 6,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "weight_decay": 0.01,
        "ema": 0.5,
        "checkpoint_every": 2,
        "log_every": 1,
        "accelerator": "cpu",
        "seed": 3,
    },
}
STILL = {"min_scale": 1.0, "turn": False, "brightness": 0.0}  # settings of `augment` that leave images as they are


def images(n: int = 48, size: int = 16) -> np.ndarray:
    """(n, 3, size, size) uint8."""
    rng = np.random.default_rng(0)
    colours = np.array(list(KINDS.values()))
    out = np.empty((n, 3, size, size), dtype=np.uint8)
    for row in range(n):
        out[row] = colours[row % len(colours)][:, None, None]
        if row // len(colours) % 2:
            out[row, :, :: size // 4] //= 3
    noise = rng.integers(-12, 12, out.shape)
    return np.clip(out + noise, 0, 255).astype(np.uint8)


def captions(n: int = 48) -> list[list[str]]:
    """Two texts for each image; those of the same kind of image are equal."""
    kinds = list(KINDS)
    said = [(kinds[row % len(kinds)], BESIDE[row // len(kinds) % 2]) for row in range(n)]
    return [[f"a {kind} beside {other} .", f"Many {other} and the {kind}."] for kind, other in said]


def held(n: int = 48) -> np.ndarray:
    """(n,) the images for validation: a few of each kind."""
    return np.arange(n) // 8 % 3 == 0


def settings(**changes: Any) -> PairTraining:
    """The settings of the tiny training with some changed, table by table."""
    return PairTraining.from_json(laid_over(laid_over(PairTraining().to_json(), CONFIG), changes))


def write_set(folder: Path, n: int = 48, size: int = 20, splits: bool = True) -> Path:
    """The images as PNG files, and captions.json beside them in the form of Karpathy's splits."""
    (folder / "images").mkdir(parents=True)
    entries = []
    val = held(n)
    for row, (image, own) in enumerate(zip(images(n, size), captions(n), strict=True)):
        name = f"{row:03d}.png"
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "images" / name)
        split = "test" if row >= n - 4 else "val" if val[row] else "train"
        entry = {"filename": name, "sentences": [{"raw": text} for text in own]}
        entries.append({**entry, "split": split} if splits else entry)
    (folder / "captions.json").write_text(json.dumps({"images": entries}))
    return folder / "captions.json"


def run(folder: Path, *, clip: Path | None = None, progress: Any = None, **changes: Any) -> TrainedPair:
    """Train in `folder`; with `clip` that model of transformers further."""
    model = None if clip is None else open_pair(f"hf:{clip}")
    return train_pairs(images(), captions(), held(), settings(**changes), folder, model=model, progress=progress)


if __name__ == "__main__":
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    given = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    clip = given.pop("clip", None)

    def slowly(step: int, total: int, metrics: Mapping[str, float]) -> None:
        time.sleep(pause)

    run(Path(sys.argv[1]), clip=None if clip is None else Path(clip), progress=slowly, **given)
