"""Which parts of the backbones learn in a phase, and at which rates."""

from __future__ import annotations

from collections.abc import Sequence

from placevec.encoders.backbones import Backbone, BackboneConfig, NetBackboneConfig, ResNetBackboneConfig
from placevec.encoders.locator.net import LocatorNet
from placevec.errors import UsageError
from placevec.train.locate.config import Phase


def random_weights(configs: Sequence[BackboneConfig]) -> list[bool]:
    """Which backbones that were opened by `configs` know nothing yet."""
    return [
        isinstance(one, NetBackboneConfig) or (isinstance(one, ResNetBackboneConfig) and not one.folder)
        for one in configs
    ]


def thaw(net: LocatorNet, given: Sequence[int], phase: Phase, fresh: Sequence[bool]) -> list[int]:
    """Let the last parts of the backbones learn, and freeze all others.

    Args:
        net: whose backbones.
        given: how many parts, one number for all or one for each; none: by the phase, see `config.PhaseConfig.thaw`.
        phase: that begins.
        fresh: which backbones have random weights.

    Returns:
        how many parts of each backbone learn; 0 also where those have no parameters.

    Raises:
        UsageError: numbers for another count of backbones, or more parts than there are.
    """
    backbones = net.each()
    if len(given) not in (0, 1, len(backbones)):
        raise UsageError(f"thaw = {list(given)} for {len(backbones)} backbones: give one number, or one for each")
    out = []
    for number, backbone in enumerate(backbones):
        last = given[number % len(given)] if given else _usual(backbone, phase, fresh[number])
        backbone.thaw(last)
        out.append(last if any(value.requires_grad for value in backbone.parameters()) else 0)
    return out


def rates(
    net: LocatorNet, thawed: Sequence[int], fresh: Sequence[bool], *, rate: float, decay: float
) -> dict[str, float]:
    """Factors of the learning rate by the start of parameters' names, for the thawed parts of backbones.

    `rate` for the last part, `decay` times that for the one before it, and so on (Howard and Ruder 2018, section 3.2:
    what is nearer to the image is more general and needs less change). What has random weights learns like the head.
    """
    found: dict[str, float] = {}
    for number, (backbone, last) in enumerate(zip(net.each(), thawed, strict=True)):
        parts = backbone.parts()
        for back, part in enumerate(reversed(parts[len(parts) - last :])):
            factor = 1.0 if fresh[number] else rate * decay**back
            found |= {f"backbones.{number}.{prefix}": factor for prefix in part}
    return found


def _usual(backbone: Backbone, phase: Phase, fresh: bool) -> int:
    if phase == "province":
        # Random weights have to learn before anything can stand on them; others know enough to begin with.
        return len(backbone.parts()) if fresh else 0
    return min(1, len(backbone.parts())) if phase == "tuning" else 0
