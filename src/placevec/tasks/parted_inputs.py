"""What a verb reads at the places of a stencil: part by part, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from placevec.engine.work import Spec
from placevec.provenance import digest_json
from placevec.sources.base import Source
from placevec.sources.patches.layers import raster_identity
from placevec.sources.stencil import StencilSource, open_stencil
from placevec.table import Places

if TYPE_CHECKING:
    from placevec.tasks.inputs import Input


class PartedInput(StencilSource):
    """The source of an `Input` whose places are a stencil; another process builds its equal from the same words.

    Rasters are opened once, and what was read of them serves all parts.

    Attributes:
        given: the words.
    """

    def __init__(self, given: Input) -> None:
        self.given = given
        stored = open_stencil(given.on)
        content, about = _content(given, stored.template())
        super().__init__(stored, content, about, limit=given.limit)

    def spec(self) -> Spec:
        """How a worker process builds the same source."""
        return Spec("placevec.tasks.inputs:source_from", {"spec": self.given.model_dump()})


def _content(given: Input, nowhere: Places) -> tuple[Callable[[Places], Source], str]:
    """What is read at some places, and what tells it from anything else."""
    if given.patches is not None:
        patches = given.patches.open(nowhere)
        if given.mask_centre:
            return lambda places: given.masked(
                patches.elsewhere(places)
            ), f"{patches.fingerprint()}/{given.mask_centre}"
        return patches.elsewhere, patches.fingerprint()
    if given.chips is None:
        return given.content, ""
    chips = given.chips.open(nowhere)
    return chips.elsewhere, digest_json([given.chips.model_dump(), raster_identity(chips.raster)])[:32]
