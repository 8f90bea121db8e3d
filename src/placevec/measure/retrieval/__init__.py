"""How image-text retrieval is measured: ranks, recalls with intervals, chance and ceiling."""

from placevec.measure.retrieval.ceiling import DEFINITIONS, DIRECTIONS, Definition, Direction, ceiling, chance
from placevec.measure.retrieval.pairing import Pairing, normalised
from placevec.measure.retrieval.ranks import Ranks, Standing, Ties, rank_all
from placevec.measure.retrieval.recalls import (
    Figure,
    Ranking,
    class_recalls,
    figures,
    mean_recall,
    mean_recall_of,
    rank_vectors,
)
from placevec.measure.retrieval.seen import refuse_seen, saw_captions

__all__ = [
    "DEFINITIONS",
    "DIRECTIONS",
    "Definition",
    "Direction",
    "Figure",
    "Pairing",
    "Ranking",
    "Ranks",
    "Standing",
    "Ties",
    "ceiling",
    "chance",
    "class_recalls",
    "figures",
    "mean_recall",
    "mean_recall_of",
    "normalised",
    "rank_all",
    "rank_vectors",
    "refuse_seen",
    "saw_captions",
]
