"""Does dense projection point at the right place, and what does it cost? Against the grid of crops, on mosaics.

Mosaics of 2x2 to 4x4 test tiles of known class, cut at their outer edges at random so that no grid lies on the cells by
chance; each class in it is asked for once. The grid encodes four crops for each tile, in one batch (its best case);
``grid-4x4`` is the older way, 16 crops one after the other. Times are for one image and one query, the encoding of the
image included, in CPU time of one thread; the methods take turns on each mosaic, and what counts is the median ratio::

    python benchmarks/evidence.py --model models/ucm [--captions dataset:ucm] [--quick]

Without ``--model`` a stand-in is made in a minute: random convolutions, and a linear head fitted by ridge
regression on the training split. It shows that the benchmark works; figures worth quoting come from a trained pair.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# One thread for each contestant, set before numpy is imported: threads wait for each other on a machine in use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import Targets, machine, show

PIXELS, DIMS = 64, 64


def main() -> None:
    """Measure, print, and check the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder of a pair of towers, or hf:NAME")
    parser.add_argument("--captions", default="dataset:ucm")
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=40, help="mosaics of each side")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few mosaics, for a look; its figures prove nothing")
    options = parser.parse_args()

    from placevec.tasks.evaluate_evidence import evaluate_captions
    from placevec.tasks.explain_mosaics import Plan

    plan = Plan(count=4 if options.quick else options.count, tile=options.tile, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or standin(options.captions, Path(folder))
        found = evaluate_captions(options.captions, model, split=options.split, plan=plan, clock=time.process_time)
    print(machine())
    calibrated = "with" if found.facts["calibrated"] else "without"
    print(f"{found.facts['model']}, {calibrated} a calibration; {found.facts['mosaics']} mosaics of {options.captions}")
    head = ["side", "method", "pointing", "95 %", "chance", "AP cells", "AP pixels", "s / query", "time / grid"]
    show("Evidence on mosaics", head, [row(record) for record in found.records])
    dense = found.of("dense")
    targets = Targets()
    gap = f"{dense['difference']:+.3f} ({dense['difference_low']:+.3f} to {dense['difference_high']:+.3f})"
    targets.claim("dense beats the grid in pointing", dense["outcome"] == "beats", gap)
    targets.claim(
        "dense takes under a quarter of the grid's time", dense["time_ratio"] < 0.25, f"{dense['time_ratio']:.3f}"
    )
    targets.done()


def row(record: Mapping[str, Any]) -> list[str]:
    """A record as a line of the table."""
    return [
        str(record["side"]),
        str(record["method"]),
        f"{record['pointing']:.3f}",
        f"{record['pointing_low']:.3f} to {record['pointing_high']:.3f}",
        f"{record['chance']:.3f}",
        f"{record['cell_ap']:.3f}",
        f"{record['pixel_ap']:.3f}",
        f"{record['seconds']:.3f}",
        f"{record['time_ratio']:.3f}",
    ]


def standin(captions: str, folder: Path) -> str:
    """A pair of towers of which only the linear heads are fitted, saved in `folder`; its name."""
    import torch

    from placevec.encoders.image import ImageConfig, ImageEncoder
    from placevec.encoders.pair import PairModel
    from placevec.encoders.text import TextEncoder, TextEncoderConfig
    from placevec.nn.text import WordsConfig
    from placevec.nn.vision import SmallCNNConfig
    from placevec.sources.captions import read_captions
    from placevec.tasks.class_words import caption_words, prompts

    every = read_captions(captions)
    train = every.split("train")
    assert train.labels is not None
    words = prompts(train.labels.tolist(), None, caption_words(every.captions))
    chips = train.images(PIXELS).read(np.arange(len(train))).data["image"]
    shape = WordsConfig(width=DIMS, heads=1, layers=0, dropout=0.0, word_dropout=0.0)
    vocabulary = shape.learn([text for texts in train.captions for text in texts] + list(words.values()))
    text = TextEncoder.untrained(TextEncoderConfig(net=shape, dims=DIMS), 0, vocabulary)
    config = ImageConfig(net=SmallCNNConfig(width=24, stages=4, dims=DIMS, pixels=PIXELS))
    image = ImageEncoder.untrained(config, 0, chips)
    net = image.net.net
    goal = text.encode({"text": np.array([words[label] for label in train.labels], dtype=object)})
    with torch.inference_mode():
        parts = [
            net.features(net.normalise(torch.from_numpy(part))).mean(dim=(2, 3)) for part in np.array_split(chips, 60)
        ]
    maps = torch.cat(parts).double()
    mean, sd = maps.mean(dim=0), maps.std(dim=0).clamp_min(1e-6)
    scaled, wanted = (maps - mean) / sd, torch.from_numpy(goal - goal.mean(axis=0)).double()
    weight = torch.linalg.solve(scaled.T @ scaled + 30 * torch.eye(scaled.shape[1]), scaled.T @ wanted) / sd[:, None]
    with torch.no_grad():
        net.head.weight.copy_(weight.T)
        net.head.bias.copy_(-(mean @ weight))
    image.net.set_output(torch.stack([torch.zeros(DIMS), torch.zeros(DIMS)]))
    image.net.scale.fill_(1.0)
    card = type(text.card)(**{**vars(text.card), "space": image.space})
    text = TextEncoder(text.config, text.net, card, vocabulary=vocabulary)
    PairModel.of(image, text, name="stand-in: random convolutions, ridge").save(folder / "standin")
    return str(folder / "standin")


if __name__ == "__main__":
    main()
