"""The sum of all losses, with weights from the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.locator.losses.balance import BalanceConfig
from placevec.nn.locator.losses.cells import geocell_loss, region_loss, region_tau, soft_targets
from placevec.nn.locator.losses.points import auxiliary_loss, offset_loss, spread_loss
from placevec.nn.locator.losses.sphere import move
from placevec.nn.locator.net import LocatorHead


@dataclass(frozen=True)
class LossConfig:
    """Weights and scales of the losses."""

    region: float = 0.5  # weight of the cross-entropy of regions
    cell: float = 1.0  # weight of the divergence from the soft targets of cells
    offset: float = 1.0  # weight of the distance of the true cell's point, once the ramp is over
    auxiliary: float = 0.1  # weight of the distance of the auxiliary guess
    spread: float = 0.1  # weight of the density of the true point
    ramp: float = 5.0  # epochs over which the weights of offset and spread grow from 0 to full; 0: full at once
    tau_km: float = 70.0  # temperature of the soft targets
    cut: float = 5.0  # cells so many temperatures farther than the true one get no target; 0: every cell gets its share
    tiny_regions: bool = False  # a lower temperature for regions that are smaller than it (see `region_tau`)
    offset_scale_km: float = 10.0  # distance of an offset that counts as 1
    auxiliary_scale_km: float = 100.0  # distance of the auxiliary guess that counts as 1
    balance: BalanceConfig = field(default_factory=BalanceConfig)  # what is done about rare regions

    def __post_init__(self) -> None:
        for name in ("region", "cell", "offset", "auxiliary", "spread", "ramp", "cut"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"loss.{name} = {getattr(self, name)}: give 0 or more")
        for name in ("tau_km", "offset_scale_km", "auxiliary_scale_km"):
            if not getattr(self, name) > 0:
                raise UsageError(f"loss.{name} = {getattr(self, name)}: give more than 0 km")

    def ramped(self, epoch: float) -> float:
        """The share of the weights of offset and spread in `epoch`, counted from 0: min(1, (epoch + 1) / ramp)."""
        return 1.0 if self.ramp == 0 else min(1.0, (epoch + 1.0) / self.ramp)

    def weights(self, epoch: float = float("inf")) -> dict[str, float]:
        """The weight of each term in `epoch`."""
        share = self.ramped(epoch)
        return {
            "region": self.region,
            "cell": self.cell,
            "offset": self.offset * share,
            "spread": self.spread * share,
            "auxiliary": self.auxiliary,
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LossConfig:
        """Read what `to_json` wrote, or a table of a recipe; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


class LocatorLoss:
    """All terms of the loss for a batch.

    Args:
        config: weights and scales.
        centres: (N, 3) unit vectors of the cells' centres.
        region: (N,) int64 region of each cell.
        counts: (P,) training images of each region.
        areas_m2: (P,) areas of the regions, for `tiny_regions`.

    Raises:
        UsageError: `tiny_regions` without areas.
    """

    def __init__(
        self,
        config: LossConfig,
        centres: Tensor,
        region: Tensor,
        counts: Tensor,
        areas_m2: Tensor | None = None,
    ) -> None:
        self.config = config
        self.centres = centres.to(torch.float64)
        self.region = region
        self.weights = config.balance.region_weights(counts.cpu())
        if self.weights is not None:
            self.weights = self.weights.to(centres.device)
        self.tau_m: float | Tensor = config.tau_km * 1000.0
        if config.tiny_regions:
            if areas_m2 is None:
                raise UsageError("loss.tiny_regions needs the areas of the regions")
            self.tau_m = region_tau(areas_m2.to(torch.float64), region, config.tau_km * 1000.0)

    def targets(self, unit: Tensor, cell: Tensor) -> Tensor:
        """The soft targets (n, N) of true points (n, 3) in true cells (n,)."""
        return soft_targets(unit, self.centres, cell, self.tau_m, self.config.cut or None)

    def __call__(
        self, head: LocatorHead, fused: Tensor, unit: Tensor, region: Tensor, cell: Tensor, epoch: float = float("inf")
    ) -> dict[str, Tensor]:
        """The terms by name, and their weighted sum as "total". Terms of weight 0 are not computed.

        Args:
            head: the head.
            fused: (n, dims) fused vectors.
            unit: (n, 3) unit vectors of the true points, best in float64.
            region: (n,) int64 true regions.
            cell: (n,) int64 true cells.
            epoch: counted from 0, for the ramp; by default it is over.
        """
        config, terms = self.config, dict[str, Tensor]()
        each = None if self.weights is None else self.weights[region]
        weights = {name: weight for name, weight in config.weights(epoch).items() if weight}
        if "region" in weights or "cell" in weights:
            region_logits = head.region_logits(fused)
        if "region" in weights:
            terms["region"] = region_loss(region_logits, region, self.weights)
        if "cell" in weights:
            joint = head.joint_logs(region_logits, head.cell_logits(fused))
            terms["cell"] = geocell_loss(joint, self.targets(unit, cell), each)
        if "offset" in weights or "spread" in weights:
            offset_m, log_spread = head.offsets(fused, cell[:, None])
            points = move(self.centres[cell], offset_m[:, 0])
            terms["offset"] = offset_loss(points, unit, config.offset_scale_km * 1000.0, each)
            if "spread" in weights:
                terms["spread"] = spread_loss(points, unit, log_spread[:, 0], weights=each)
        if "auxiliary" in weights:
            terms["auxiliary"] = auxiliary_loss(
                head.auxiliary(fused), unit.to(fused.dtype), config.auxiliary_scale_km * 1000.0, each
            )
        total = fused.new_zeros(())
        for name, weight in weights.items():
            total = total + weight * terms[name].to(fused.dtype)
        return {**terms, "total": total}
