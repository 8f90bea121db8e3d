"""The fuser: tables of modalities on the same hexagons to one vector for each, by a network trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.encoders.model import load_strictly, save_model
from placevec.errors import CheckpointError, SchemaError
from placevec.measure.fusion.rings import spacing_m
from placevec.nn import configs
from placevec.nn.fusion import FusionConfig, FusionNet, Tokens, VectorReader
from placevec.nn.fusion.config import Form
from placevec.nn.hexunet import ConeBatchingUNet, HexGraph
from placevec.provenance import Space

KIND = "fuser"


@dataclass(frozen=True)
class ModalityShape:
    """What a fuser asks of the table of one modality.

    Attributes:
        name: of the modality.
        names: of its columns, in their order; empty for vectors of an encoder.
        space: id of the Space of the table's vectors.
        columns: how many.
        form: how the network codes them, see `nn.fusion.Tokens`.
    """

    name: str
    names: tuple[str, ...]
    space: str
    columns: int
    form: Form = "bins"

    def check(self, names: Sequence[str], space: Space, table: str) -> None:
        """SchemaError unless a table with these columns, in this Space, is what the fuser learned from."""
        if self.names:
            if tuple(names) != self.names:
                odd = next((one for one in (*self.names, *names) if (one in names) != (one in self.names)), "")
                told = f"they differ in {odd!r}" if odd else "they stand in another order"
                raise SchemaError(
                    f"{table} has other columns than the modality {self.name!r} was learned with ({told}): make the "
                    "table with the same options"
                )
        elif space.id != self.space or space.dims != self.columns:
            raise SchemaError(
                f"{table} is of the Space {space.label}; the modality {self.name!r} was learned with "
                f"{self.space.partition(':')[2][:12]} ({self.columns} dims): embed with the same encoder"
            )


class Fuser(Carded):
    """A trained network that fuses modalities; no encoder, for it reads the tables of a whole area at once.

    Args:
        config: the shape of the network.
        shapes: of the modalities.
        net: the network.
        card: what it is.
        device: of torch.
    """

    def __init__(
        self,
        config: FusionConfig,
        shapes: tuple[ModalityShape, ...],
        net: FusionNet,
        card: ModelCard,
        device: str = "cpu",
    ) -> None:
        super().__init__(card)
        self.config, self.shapes = config, shapes
        self.net = net.to(device).eval()
        self.device = torch.device(device)

    @classmethod
    def from_card(cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> Self:
        """Build the fuser of a model folder; see `encoders.model.load_encoder`."""
        try:
            config = configs.from_json(FusionConfig, card.config["net"])
            shapes = tuple(configs.from_json(ModalityShape, one) for one in card.config["modalities"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder}: the card does not describe a fuser ({error}): copy the folder again"
            ) from None
        net = FusionNet(config)
        load_strictly(net, state, folder)
        return cls(config, shapes, net, card, device)

    def save(self, folder: str | Path) -> Self:
        """Write the model folder; the answer is the fuser with the card as written."""
        card = save_model(folder, self.net.state_dict(), self.card)
        return type(self)(self.config, self.shapes, self.net, card, str(self.device))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """A fuser reads areas, not rows: SchemaError."""
        raise SchemaError("a fuser reads the tables of an area, not single rows: use `placevec fuse`")

    @property
    def reach_m(self) -> float:
        """How far beyond its cell a vector looks on account of its own level's neighbours, in metres.

        What the coarser levels add is context that is blurred over their cells, and is not counted.
        """
        rings = self.config.unet.lateral[0] + (self.config.unet.down[0] if self.config.unet.down else 0)
        return rings * spacing_m(self.config.resolutions[0])

    def fuse(
        self, x: NDArray[np.float32], graph: HexGraph, cones: ConeBatchingUNet | None = None, **run: Any
    ) -> NDArray[np.float32]:
        """The vectors (n, dims) of an area.

        Args:
            x: (n, inputs), see `nn.fusion.FusionNet`, in the order of the graph's finest level.
            graph: of the area.
            cones: go cone by cone, in little memory.
            run: further arguments of `ConeBatchingUNet.run`: out, done, told.
        """
        if cones is not None:
            reader = VectorReader(self.net)
            return cones.run(reader, x, device=self.device, **run)[0]
        with torch.inference_mode():
            found = self.net.vectors(torch.from_numpy(x).to(self.device), graph.to(self.device))
        vectors: NDArray[np.float32] = found.float().cpu().numpy()
        return vectors

    def gates(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The weight (n, modalities) of each modality where it is there, 0 where not; of all that is there 1 in sum."""
        with torch.inference_mode():
            codes, present = self.net.coded(torch.from_numpy(x).to(self.device))
            _, weight = self.net.gates(codes, present)
            weight = weight * present
            shares = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-9)
        found: NDArray[np.float32] = shares.float().cpu().numpy()
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Of the components of a vector: the part that they belong to, and a number or the column and its bin."""
        own = {shape.name: self._codes(k) for k, shape in enumerate(self.shapes)}
        found = []
        for name, start, stop in self.config.blocks:
            base = name.removesuffix(" around")
            codes = own[base] if base in own and not name.endswith(" told") else [str(k) for k in range(stop - start)]
            found += [f"{name}: {code}" for code in codes]
        return tuple(found)

    def _codes(self, modality: int) -> list[str]:
        """What the tokens of a modality are called: the column, and of several bins which."""
        shape, code = self.shapes[modality], self.net.tokens[modality]
        assert isinstance(code, Tokens)
        columns = code.column.tolist()
        names = [shape.names[column] if shape.names else f"{column}" for column in columns]
        if code.form == "values":
            return names
        low = code.low.tolist()
        return [f"{name} from {edge:.4g}" for name, edge in zip(names, low, strict=True)]


def fuser_card(config: FusionConfig, shapes: Sequence[ModalityShape], space: Space, **more: Any) -> ModelCard:
    """The card of a fuser of this shape."""
    card = ModelCard(
        kind=KIND,
        space=space,
        tower="fusion",
        config={"net": configs.to_json(config), "modalities": [configs.to_json(shape) for shape in shapes]},
        inputs=tuple(shape.name for shape in shapes),
    )
    return replace(card, **more)
