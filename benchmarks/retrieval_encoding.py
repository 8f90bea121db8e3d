"""Encoding for retrieval: images in batches against one by one, decoding, the 16 crops of a grid, and captions.

One by one is the network called on each image alone, as a loop in a notebook calls it; batched is `encode`. Weights are
random, for speed does not depend on them. Networks are timed by the processor time of one thread, decoding by the
clock, for there the threads are the point::

    python benchmarks/retrieval_encoding.py [--quick] [--rounds N]
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, arguments, in_turn, machine, show, spread

DIMS = 256
SIDE = 256  # pixels of an image, as in UCM
READ = 128  # pixels at which our towers read it
GRID = 4  # cells of the grid along a side: 16 crops
BATCHED, ALONE, SINGLE = "batched", "one by one", "one image by encode, its batch filled up"
WORDS = ("a", "the", "of", "two", "many", "green", "river", "harbour", "bridge", "courts", "trees", "cranes", "beside")


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    """Smooth random images (count, 3, side, side) uint8, which compress about as photographs do."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 3, side // 16, side // 16)).repeat(16, axis=2).repeat(16, axis=3)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def own_towers(quick: bool) -> dict[str, Any]:
    """Our image networks, by a name that tells their size."""
    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.nn.vision import FisherConfig, SmallCNNConfig, ViTConfig

    if quick:
        small: dict[str, Any] = {"pixels": 32, "dims": 16}
        nets = [
            SmallCNNConfig(width=8, **small),
            ViTConfig(width=32, depth=2, **small),
            FisherConfig(
                gradient_cells=(4,), gradient_dims=8, colour_cells=(), components=4, gradient_reduced=16, **small
            ),
        ]
    else:
        shape: dict[str, Any] = {"pixels": READ, "dims": DIMS}
        nets = [SmallCNNConfig(width=32, stages=4, **shape), ViTConfig(**shape), FisherConfig(**shape)]
    learned = pictures(16 if quick else 128)  # a mixture has to have seen some images
    made = {net.kind: ImageEncoder.untrained(ImageConfig(net=net), 0, learned) for net in nets}
    return {f"{kind}, {sum(p.numel() for p in one.net.parameters()) / 1e6:.1f}M": one for kind, one in made.items()}


def clip(folder: Path, quick: bool) -> Any:
    """A CLIP with the image tower of a ViT-B/32 and random weights, saved and opened as a real one is."""
    import torch
    import transformers

    from placevec.encoders.hf import HfImageEncoder

    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config=small if quick else {}, projection_dim=512)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    return HfImageEncoder.open(f"hf:{folder}")


def images_part(towers: Mapping[str, Any], rounds: int, quick: bool, targets: Targets) -> None:
    """Images a second, in batches and one by one."""
    from placevec.encoders.base import unit_rows
    from placevec.encoders.dense import image_vectors

    rows = []
    for name, tower in towers.items():
        images = pictures(16 if name.startswith("CLIP") else 64)
        found: dict[str, np.ndarray] = {}

        def batched(tower: Any = tower, images: np.ndarray = images, found: dict[str, np.ndarray] = found) -> None:
            found[BATCHED] = tower.encode({"image": images})

        def alone(tower: Any = tower, images: np.ndarray = images, found: dict[str, np.ndarray] = found) -> None:
            found[ALONE] = np.concatenate([image_vectors(tower, image[None]) for image in images])

        def single(tower: Any = tower, images: np.ndarray = images) -> None:
            tower.encode({"image": images[:1]})

        times = in_turn({BATCHED: batched, ALONE: alone, SINGLE: single}, rounds, clock=time.process_time)
        ratio = times.ratio(BATCHED, ALONE)
        rates = [f"{len(images) / times.median(form):,.1f}" for form in (BATCHED, ALONE)]
        one = [f"{1000 * times.median(ALONE) / len(images):,.0f}", f"{1000 * times.median(SINGLE):,.0f}"]
        rows.append([name, *rates, spread(ratio), *one])
        away = float(np.abs(unit_rows(found[BATCHED]) - unit_rows(found[ALONE])).max())
        targets.claim(f"{name}: one by one gives the same vectors", away < 1e-4, f"{away:.0e}")
        if not quick:
            targets.claim(f"{name}: batches are no slower", ratio[0] >= 0.95, spread(ratio))
    head = ["tower", f"{BATCHED}, /s", f"{ALONE}, /s", "batched faster by", "one image, ms", "by encode, ms"]
    show("Encoding of images", head, rows)


def decoding_part(rounds: int, quick: bool, targets: Targets) -> None:
    """Files to small squares: a loop with Pillow, our reader one by one, and `ImageFiles` with its threads."""
    from PIL import Image

    from placevec.sources.images import ImageFiles, read_image, resized

    with folder_of_images(quick) as folder:
        files = sorted(Path(folder).glob("*.jpg"))[: 40 if quick else 400]
        rows = np.arange(len(files))

        def by_pillow() -> list[np.ndarray]:
            found = []
            for path in files:
                with Image.open(path) as image:
                    found.append(np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)))
            return found

        def each() -> list[np.ndarray]:
            return [resized(read_image(path), 64) for path in files]

        threads = f"ImageFiles, {ImageFiles(files).threads} threads"
        contestants: dict[str, Callable[[], Any]] = {
            threads: lambda: ImageFiles(files, pixels=64).read(rows),
            "ImageFiles, one thread": lambda: ImageFiles(files, pixels=64, threads=1).read(rows),
            "read_image and resized": each,
            "Pillow alone": by_pillow,
        }
        times = in_turn(contestants, rounds)
        skipped = len(ImageFiles(files, pixels=64).read(rows).skipped)
    told = [
        [name, f"{len(files) / times.median(name):,.0f}", spread(times.ratio(threads, name))] for name in contestants
    ]
    show(f"{len(files)} JPEG files to 64 x 64", ["form", "images a second", f"{threads}: faster by"], told)
    targets.claim("all images are read", skipped == 0, f"{skipped} skipped")
    if not quick:
        ratio = times.ratio(threads, "read_image and resized")
        targets.claim("decoding with threads is faster than one by one", ratio[0] > 1, spread(ratio))


def folder_of_images(quick: bool) -> AbstractContextManager[str]:
    """A folder of JPEG files: UCM's where the real data lies, else generated ones."""
    from PIL import Image

    real = Path(os.environ.get("PLACEVEC_DATA", ""), "ucm", "images")
    if os.environ.get("PLACEVEC_DATA") and real.is_dir() and not quick:
        return nullcontext(str(real))
    made = tempfile.TemporaryDirectory()
    for number, image in enumerate(pictures(40 if quick else 400)):
        Image.fromarray(np.moveaxis(image, 0, -1)).save(Path(made.name, f"{number:04d}.jpg"), quality=90)
    return made


def crops_part(towers: Mapping[str, Any], rounds: int, quick: bool, targets: Targets) -> None:
    """The 16 crops of the older way, one by one and together, and what stands for them: dense positions."""
    from placevec.encoders.dense import image_vectors, positions

    image = pictures(1)[0]
    cell = SIDE // GRID
    crops = image.reshape(3, GRID, cell, GRID, cell).transpose(1, 3, 0, 2, 4).reshape(GRID * GRID, 3, cell, cell)
    crops = np.ascontiguousarray(crops)
    rows = []
    for name, tower in towers.items():

        def alone(tower: Any = tower) -> None:
            for crop in crops:
                image_vectors(tower, crop[None])

        contestants: dict[str, Callable[[], Any]] = {
            ALONE: alone,
            "together": lambda tower=tower: image_vectors(tower, crops),
        }
        dense = hasattr(tower, "encode_dense")
        if dense:
            contestants["dense"] = lambda tower=tower: positions(tower, image)
        times = in_turn(contestants, rounds, clock=time.process_time)
        together = times.ratio("together", ALONE)
        rows.append(
            [
                name,
                f"{1000 * times.median(ALONE):,.0f}",
                spread(together),
                spread(times.ratio("dense", ALONE)) if dense else "",
            ]
        )
        if not quick:
            targets.claim(f"{name}: 16 crops together are no slower", together[0] >= 0.95, spread(together))
    head = ["tower", "16 crops one by one, ms", "together: faster by", "dense positions: faster by"]
    show("The crops of one image", head, rows)


def captions_part(rounds: int, quick: bool, targets: Targets) -> None:
    """Our text towers: one query, and many captions."""
    from placevec.encoders.text import BATCH, TextEncoder, TextEncoderConfig
    from placevec.nn.text import TextConfig, WordsConfig

    rng = np.random.default_rng(0)
    count = 200 if quick else 5000
    lengths = rng.integers(5, 18, count)
    captions = np.array([" ".join(rng.choice(WORDS, length)) for length in lengths], dtype=object)
    rows = []
    for net in (TextConfig(), WordsConfig(layers=0), WordsConfig()):
        config = TextEncoderConfig(net=net, dims=DIMS)
        tower = TextEncoder.untrained(config, 0, net.learn(captions.tolist()))
        asked = captions[:20]
        found = np.concatenate([tower.encode({"text": asked[row : row + 1]}) for row in range(len(asked))])
        contestants = {
            "one query": lambda tower=tower, asked=asked: [
                tower.encode({"text": asked[row : row + 1]}) for row in range(len(asked))
            ],
            "many": lambda tower=tower: tower.encode({"text": captions}),
        }
        times = in_turn(contestants, rounds, clock=time.process_time)
        name = f"{net.kind}, layers {net.layers}"
        one = 1000 * times.median("one query") / len(asked)
        rows.append([name, f"{one:.1f}", f"{count / times.median('many'):,.0f}"])
        equal = np.array_equal(found, tower.encode({"text": captions})[: len(asked)])
        targets.claim(f"{name}: a text alone has the same vector, bit by bit", equal, str(equal))
        if not quick:
            targets.claim(f"{name}: a query in less than 20 ms", one < 20, f"{one:.1f} ms")
    show(f"Captions of 5 to 17 words, {BATCH} at a time", ["tower", "one query, ms", f"of {count:,}, a second"], rows)


def encoding(rounds: int, quick: bool, targets: Targets, parts: tuple[str, ...]) -> None:
    """The parts asked for: images, crops, decoding, captions."""
    with tempfile.TemporaryDirectory() as folder:
        if {"images", "crops"} & set(parts):
            towers = {**own_towers(quick), "CLIP, tiny" if quick else "CLIP ViT-B/32": clip(Path(folder), quick)}
            if "images" in parts:
                images_part(towers, rounds, quick, targets)
            if "crops" in parts:
                crops_part(towers, rounds, quick, targets)
    if "decoding" in parts:
        decoding_part(rounds, quick, targets)
    if "captions" in parts:
        captions_part(rounds, quick, targets)


def main() -> None:
    options = arguments(__doc__ or "")
    print(machine())
    targets = Targets()
    encoding(options.rounds, options.quick, targets, ("images", "crops", "decoding", "captions"))
    targets.done()


if __name__ == "__main__":
    main()
