"""Projections of image vectors into the Space that is learned, one for each table, and their encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from placevec.encoders.base import ModelCard
from placevec.encoders.precomputed import PrecomputedEncoder
from placevec.errors import UsageError
from placevec.train.contrastive.config import LocationTraining
from placevec.train.contrastive.tables import ImageTable


def projections(tables: Sequence[ImageTable], config: LocationTraining) -> list[str]:
    """How the vectors of each table are projected: identity, linear or mlp.

    "auto" leaves them as they are where that can be: if all tables are in one Space, which has the encoder's dims. With
    "identity" for one table, the others are projected into its Space.

    Raises:
        UsageError: a setting that the tables contradict.
    """
    dims = config.encoder.dims
    names = [table.name for table in tables]
    own = {source.name: source.projection for source in config.sources}
    odd = sorted(set(own) - set(names))
    if odd:
        raise UsageError(f"sources names the table {odd[0]!r}; given: {', '.join(names)}")
    plain = all(table.vectors.shape[1] == dims for table in tables) and _one_space(tables)
    asked = [own.get(table.name) or config.projection for table in tables]
    kinds = [("identity" if plain else "linear") if kind == "auto" else str(kind) for kind in asked]
    for kind, table in zip(kinds, tables, strict=True):
        inputs = table.vectors.shape[1]
        if kind == "identity" and inputs != dims:
            raise UsageError(
                f"projection = identity, but the encoder has {dims} dims and the {table.name} vectors "
                f"{inputs}: set dims = {inputs} or projection = linear"
            )
    if not _one_space([table for kind, table in zip(kinds, tables, strict=True) if kind == "identity"]):
        raise UsageError(
            "projection = identity for tables of different Spaces: leave one of them so, and set projection = linear "
            "for the others"
        )
    return kinds


def _one_space(tables: Sequence[ImageTable]) -> bool:
    if len(tables) < 2:
        return True
    ids = {None if table.space is None else table.space.id for table in tables}
    return len(ids) == 1 and None not in ids


def head(kind: str, inputs: int, config: LocationTraining) -> nn.Module:
    """The projection (n, inputs) to (n, dims) of a kind that `projections` gave."""
    dims = config.encoder.dims
    if kind == "identity":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(inputs, dims, bias=False)
    return nn.Sequential(
        nn.Linear(inputs, config.head_hidden),
        nn.ReLU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(config.head_hidden, dims),
    )


def head_encoder(module: nn.Module, card: ModelCard) -> PrecomputedEncoder:
    """The encoder that brings vectors of a table into the Space, as the trained head does."""
    if isinstance(module, nn.Linear):
        return PrecomputedEncoder(card, _array(module.weight))
    if isinstance(module, nn.Sequential):
        first, last = module[0], module[-1]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        return PrecomputedEncoder(
            card, _array(last.weight), hidden=(_array(first.weight), _array(first.bias), _array(last.bias))
        )
    return PrecomputedEncoder(card)


def _array(weight: torch.Tensor) -> Any:
    return weight.detach().cpu().numpy().copy()
