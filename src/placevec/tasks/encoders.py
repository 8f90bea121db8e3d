"""Encoders by the words of a recipe or a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from placevec.engine.work import Spec
from placevec.errors import UsageError
from placevec.registry import need


def encoder_spec(name: str, *, bands: int = 3) -> Spec:
    """How a process builds the encoder called `name`.

    Args:
        name: a model folder; ``hf:NAME`` or ``hf:FOLDER``, a vision model of transformers; ``features:pixels``, the
            raw features; ``features:sincos``, sine and cosine of the coordinates.
        bands: bands of the chips, for ``pixels``.
    """
    return Spec("placevec.tasks.encoders:build_encoder", {"name": name, "bands": bands})


def build_encoder(name: str, bands: int = 3) -> Any:
    """The encoder called `name`, see `encoder_spec`; UsageError if there is none."""
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
        from placevec.encoders.hf import HfImageEncoder

        return HfImageEncoder.open(rest)
    if not Path(name).is_dir():
        raise UsageError(
            f"{name!r} is no encoder: give a model folder, features:pixels, features:sincos, or hf:NAME (a model of "
            "transformers)"
        )
    from placevec.encoders.model import load_encoder

    return load_encoder(name)
