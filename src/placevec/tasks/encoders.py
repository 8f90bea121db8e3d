"""Encoders by the words of a recipe or a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from placevec.engine.work import Spec
from placevec.errors import UsageError
from placevec.registry import need


def encoder_spec(name: str, *, bands: int = 3, reads: str = "") -> Spec:
    """How a process builds the encoder called `name`.

    Args:
        name: a model folder (of one encoder, or of a pair of towers); ``hf:NAME`` or ``hf:FOLDER``, a model of
            transformers; ``features:pixels``, the raw features; ``features:sincos``, sine and cosine of the
            coordinates.
        bands: bands of the chips, for ``pixels``.
        reads: what it has to read: "image" or "text" chooses that tower of a pair or of a model of transformers;
            "" takes the encoder as it is, which for a pair is its image tower.
    """
    args: dict[str, Any] = {"name": name, "bands": bands}
    if reads:  # a job of before, which has no such argument, goes on
        args["reads"] = reads
    return Spec("placevec.tasks.encoders:build_encoder", args)


def build_encoder(name: str, bands: int = 3, reads: str = "") -> Any:
    """The encoder called `name`, see `encoder_spec`; UsageError if there is none, or if it reads something else."""
    encoder = _encoder(name, bands, reads)
    if reads and reads not in encoder.inputs:
        raise UsageError(
            f"{name!r} reads {', '.join(encoder.inputs)}, not {reads}: give a pair of an image and a text tower, or "
            f"an encoder of {reads}s"
        )
    return encoder


def _encoder(name: str, bands: int, reads: str) -> Any:
    kind, colon, rest = name.partition(":")
    if name in ("pixels", "features:pixels"):
        from placevec.features.pixels import PixelFeatures

        return PixelFeatures(bands)
    if name == "features:sincos":
        from placevec.encoders.baselines import SinCos

        return SinCos()
    learned = (colon and kind == "hf") or Path(name).is_dir()
    if learned:
        need("torch", extra="torch", purpose="a learned encoder")
    if colon and kind == "hf":
        from placevec.encoders.hf import HfImageEncoder, HfTextEncoder

        return HfTextEncoder.open(rest) if reads == "text" else HfImageEncoder.open(rest)
    if not Path(name).is_dir():
        raise UsageError(
            f"{name!r} is no encoder: give a model folder, features:pixels, features:sincos, or hf:NAME (a model of "
            "transformers)"
        )
    from placevec.encoders.model import load_encoder, read_card
    from placevec.encoders.pair import KIND, open_text_tower

    if reads == "text" and read_card(name).kind == KIND:
        return open_text_tower(name)
    return load_encoder(name)
