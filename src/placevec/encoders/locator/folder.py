"""The model folder of a locator: what is written, and how it is held against itself when it is read.

::

    card.json           kind "locator"; config: backbones, head, decoding, cells of each region, their fingerprint
    model.safetensors   weights of backbones and head
    geocells.bin        the cells with their regions
    calibration.json    how probabilities become honest
    gallery.parquet     the training images as a table with vectors: `placevec search` reads it
    backboneN-...       files that belong to the description of a backbone, such as config.json of a CLIP
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from placevec.encoders.backbones import Backbone, restore_backbone
from placevec.encoders.base import ModelCard
from placevec.encoders.locator.decoding import Decoding
from placevec.encoders.locator.gallery import Gallery
from placevec.encoders.locator.net import LocatorNet
from placevec.encoders.model import load_strictly, save_model
from placevec.errors import CheckpointError, PlacevecError
from placevec.geo.geocells import GeoCells
from placevec.measure.geo_calibration import Calibration
from placevec.nn.locator import HeadConfig, LocatorHead
from placevec.provenance import Space

KIND = "locator"
GEOCELLS, CALIBRATION, GALLERY = "geocells.bin", "calibration.json", "gallery.parquet"


@dataclass(frozen=True, eq=False)
class Parts:
    """What a locator is built of."""

    backbones: list[Backbone]
    head: LocatorHead
    geocells: GeoCells
    calibration: Calibration
    gallery: Gallery | None
    decoding: Decoding


def locator_card(head: HeadConfig, **more: Any) -> ModelCard:
    """The card of a locator with a Space of its own; `more` are further fields."""
    card = ModelCard(
        kind=KIND,
        space=Space.mint(head.dims, note="fused vectors of a locator"),
        tower="image",
        inputs=("image",),
        normalized=True,
        name="locator",
    )
    return replace(card, **more)


def card_config(
    backbones: Sequence[Backbone], head: LocatorHead, geocells: GeoCells, decoding: Decoding
) -> dict[str, Any]:
    """What `card.json` has to know to build the networks again."""
    return {
        "backbones": [backbone.describe() for backbone in backbones],
        "head": head.config.to_json(),
        "cells": list(head.cells),
        "geocells": geocells.fingerprint(),
        "decoding": decoding.to_json(),
    }


def cells_of(geocells: GeoCells) -> list[int]:
    """The number of cells of each region."""
    return [int(count) for count in np.diff(geocells.starts)]


def check_cells(head: LocatorHead, geocells: GeoCells, card: ModelCard) -> None:
    """CheckpointError unless a head was made for these cells: a row of its answers would mean another place."""
    own = cells_of(geocells)
    if list(head.cells) != own:
        raise CheckpointError(
            f"the network was trained for {sum(head.cells):,} cells in {len(head.cells)} regions, these geocells are "
            f"{sum(own):,} in {len(own)}: the geocells differ from those of the training; copy the model folder whole"
        )
    trained = card.config.get("geocells")
    if trained is not None and trained != geocells.fingerprint():
        raise CheckpointError(
            f"the network was trained for the geocells {str(trained)[:12]}, these are {geocells.fingerprint()[:12]}: "
            "they are as many, and lie elsewhere; copy the model folder whole, or train again"
        )


def check_shift(decoding: Decoding, geocells: GeoCells) -> None:
    """CheckpointError unless there is a shift for every region, or none."""
    shift, regions = decoding.region_shift, len(geocells.regions)
    if shift and len(shift) != regions:
        raise CheckpointError(f"region_shift has {len(shift)} numbers for {regions} regions: give one for each")


def write(
    net: LocatorNet,
    card: ModelCard,
    geocells: GeoCells,
    calibration: Calibration,
    gallery: Gallery | None,
    folder: str | Path,
) -> ModelCard:
    """Write the folder, whole or not at all; the card as written."""
    text = json.dumps(calibration.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n"
    assets = {GEOCELLS: geocells.to_bytes(), CALIBRATION: text.encode()}
    if gallery is not None:
        about = {"encoder": card.name or KIND, "recipe": {}, "saw": card.saw, "sources": card.sources}
        assets[GALLERY] = gallery.to_bytes(card.space, tower=card.tower, **about)
    for number, backbone in enumerate(net.each()):
        for name, content in backbone.assets().items():
            assets[f"{_prefix(number)}{name}"] = content
    return save_model(folder, net.state_dict(), card, assets)


def read_parts(card: ModelCard, state: Mapping[str, Tensor], folder: Path) -> Parts:
    """Build the parts of a folder whose files are those that its card names.

    Raises:
        CheckpointError: a part is damaged, or they do not belong together.
    """
    config = card.config
    for name in (GEOCELLS, CALIBRATION):
        if name not in card.assets:
            raise CheckpointError(f"{folder} has no {name}: it is no whole locator; copy the model folder again")
    try:
        geocells = GeoCells.from_bytes((folder / GEOCELLS).read_bytes())
        calibration = Calibration.from_json(json.loads((folder / CALIBRATION).read_text(encoding="utf-8")))
        decoding = Decoding.from_json(config["decoding"])
        head_config = HeadConfig.from_json(config["head"])
        described, counts, trained = config["backbones"], [int(count) for count in config["cells"]], config["geocells"]
        backbones = [restore_backbone(one, _assets(card, folder, number)) for number, one in enumerate(described)]
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{folder}: the locator's card has no {error}; copy the model folder again") from None
    except (PlacevecError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: the locator is damaged ({error}); copy the model folder again") from error
    _check_same(geocells, counts, str(trained), folder)
    widths = [backbone.width for backbone in backbones]
    with torch.random.fork_rng(devices=[]):  # the weights are replaced: nobody's random numbers are used up for them
        head = LocatorHead(head_config, widths, counts, torch.ones(sum(counts)))
    net = LocatorNet(backbones, head)
    load_strictly(net, state, folder)
    gallery = Gallery.read(folder / GALLERY, card.space) if GALLERY in card.assets else None
    return Parts(backbones, head, geocells, calibration, gallery, decoding)


def _check_same(geocells: GeoCells, counts: Sequence[int], trained: str, folder: Path) -> None:
    if geocells.fingerprint() == trained and cells_of(geocells) == list(counts):
        return
    raise CheckpointError(
        f"{folder}: the geocells differ from those of the training ({sum(cells_of(geocells)):,} cells, fingerprint "
        f"{geocells.fingerprint()[:12]}; the card says {sum(counts):,} and {trained[:12]}): copy the model folder whole"
    )


def _assets(card: ModelCard, folder: Path, number: int) -> dict[str, bytes]:
    prefix = _prefix(number)
    names = [name for name in card.assets if name.startswith(prefix)]
    return {name.removeprefix(prefix): (folder / name).read_bytes() for name in names}


def _prefix(number: int) -> str:
    return f"backbone{number}-"
