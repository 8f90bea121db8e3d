"""U-Nets over the hexagons of an area: whole, or cone by cone."""

from placevec.nn.hexunet.cones import ConeBatch, ConeBatchingUNet, Plan, plan
from placevec.nn.hexunet.config import HexUNetConfig
from placevec.nn.hexunet.graph import HexGraph, Lateral
from placevec.nn.hexunet.kept import KeptRun, kept_run
from placevec.nn.hexunet.mix import HexConv, neighbour_sum
from placevec.nn.hexunet.net import FullAreaUNet
from placevec.nn.hexunet.pool import child_shares, pool, spread
from placevec.nn.hexunet.reach import Cone, ConeCutter, covered, needed

__all__ = [
    "Cone",
    "ConeBatch",
    "ConeBatchingUNet",
    "ConeCutter",
    "FullAreaUNet",
    "HexConv",
    "HexGraph",
    "HexUNetConfig",
    "KeptRun",
    "Lateral",
    "Plan",
    "child_shares",
    "covered",
    "kept_run",
    "needed",
    "neighbour_sum",
    "plan",
    "pool",
    "spread",
]
