"""Encoders by the words of a recipe or a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from placevec.engine.work import Spec
from placevec.errors import UsageError
from placevec.registry import need

FRACTIONS = "features:fractions"
COOCCURRENCE = "features:cooccurrence"
SIGNATURES = (FRACTIONS, COOCCURRENCE)


def encoder_spec(name: str, *, bands: int = 3, reads: str = "", signature: Mapping[str, Any] | None = None) -> Spec:
    """How a process builds the encoder called `name`.

    Args:
        name: a model folder (of one encoder, or of a pair of towers); ``hf:NAME`` or ``hf:FOLDER``, a model of
            transformers; ``features:pixels``, the raw features; ``features:sincos``, sine and cosine of the
            coordinates; ``features:fractions`` and ``features:cooccurrence``, signatures of patches of land cover.
        bands: bands of the chips, for ``pixels``.
        reads: what it has to read: "image" or "text" chooses that tower of a pair or of a model of transformers;
            "" takes the encoder as it is, which for a pair is its image tower.
        signature: for ``features:fractions`` and ``features:cooccurrence``, what `signature_options` gives.
    """
    args: dict[str, Any] = {"name": name, "bands": bands}
    if reads:  # a job of before, which has no such argument, goes on
        args["reads"] = reads
    if signature is not None:
        args["signature"] = dict(signature)
    return Spec("placevec.tasks.encoders:build_encoder", args)


def build_encoder(name: str, bands: int = 3, reads: str = "", signature: Mapping[str, Any] | None = None) -> Any:
    """The encoder called `name`, see `encoder_spec`; UsageError if there is none, or if it reads something else."""
    if name in SIGNATURES:
        return _signature(name, signature)
    encoder = _encoder(name, bands, reads)
    if reads and reads not in encoder.inputs:
        raise UsageError(
            f"{name!r} reads {', '.join(encoder.inputs)}, not {reads}: give a pair of an image and a text tower, or "
            f"an encoder of {reads}s"
        )
    return encoder


def is_signature(name: str) -> bool:
    """Whether `name` is that of a signature, which counts the classes that a source of patches tells."""
    return name in SIGNATURES


def signature_options(
    source: Any, *, layers: Sequence[str] | None = None, bins: int = 8, **options: Any
) -> dict[str, Any]:
    """What a signature has to know of a source of patches, as JSON: its layers with their classes.

    Args:
        source: patches of layers, see `features.signatures.layers_of`.
        layers: their names; absent, the categorical ones, or all where there is none.
        bins: of a continuous layer.
        options: of the encoder: `neighbours` and `between` of ``features:cooccurrence``.
    """
    from placevec.features.signatures import layers_of

    return {"layers": [layer.to_json() for layer in layers_of(source, layers, bins=bins)], **options}


def _signature(name: str, given: Mapping[str, Any] | None) -> Any:
    from placevec.features import signatures

    if given is None or not given.get("layers"):
        raise UsageError(f"{name!r} counts the classes of patches: give it a patch set, or a source with --layer")
    layers = [signatures.SignatureLayer.from_json(layer) for layer in given["layers"]]
    options = {key: value for key, value in given.items() if key != "layers"}
    odd = next((key for key in options if name != COOCCURRENCE or key not in ("neighbours", "between")), None)
    if odd is not None:
        raise UsageError(f"{name!r} has no option {odd!r}")
    if name == COOCCURRENCE:
        return signatures.CooccurrenceEncoder(layers, **options)
    return signatures.FractionsEncoder(layers)


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
