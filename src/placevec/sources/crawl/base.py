"""What a service of photos is to a crawl: pages of finds for a tile, and the bytes of a find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from placevec.errors import DataError
from placevec.sources.crawl.tiles import Tile
from placevec.table.skipped import Skipped

SEARCH = "search"  # the stage at which a find falls out by what the service says of it
DOWNLOAD = "download"  # the stage at which it falls out by what was sent


class Gone(DataError):
    """A photo that the service lists, but does not give; its message is the reason, for a `Skipped`."""


class Lapsed(DataError):
    """A page that can no longer be asked for: the tile has to be read from its first page."""


@dataclass(frozen=True, slots=True)
class Found:
    """A photo that a service lists."""

    id: str  # unique within the service; letters, digits, - and _
    place: str  # what photos of one place share; for photos without such a name the id
    lon: float  # degrees
    lat: float  # degrees
    address: str  # by which the service gives its bytes
    group: str = ""  # photos of one group are listed together, under new ids each time; "" where ids last
    attributes: Mapping[str, Any] = field(default_factory=dict)  # columns of the photo list


@dataclass(frozen=True)
class Page:
    """What a service answers about a tile."""

    photos: tuple[Found, ...]  # those that are wanted
    skipped: tuple[Skipped, ...]  # those that are not, with the reason
    total: int  # photos or places that the service says the tile has; what is on the page where it does not say
    next: str  # what the next page is asked for by; "" after the last
    full: bool  # the tile may have more than can be had through its pages: it should be split
    reach: int  # photos that can be had through its pages, as far as is known
    counted: bool = False  # `total` counts photos, and this page alone tells it

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        value = asdict(self)
        value["skipped"] = [[row.id, row.stage, row.reason] for row in self.skipped]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Page:
        """The page of which `to_json` made `value`."""
        photos = tuple(Found(**each) for each in value["photos"])
        skipped = tuple(Skipped(*each) for each in value["skipped"])
        return cls(**{**value, "photos": photos, "skipped": skipped})


class Service(Protocol):
    """A service of photos with positions."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def requests(self) -> int:
        """How many requests it has made, downloads and tries included."""

    def settings(self) -> dict[str, Any]:
        """What it is asked for, as JSON: a crawl goes on only with the same."""

    def prepare(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Get ready; returns what a later run is to be given as `kept` ({} the first time)."""

    def roots(self, box: tuple[float, float, float, float], side_m: float | None) -> tuple[Tile, ...]:
        """The first tiles of a box, after `prepare`."""

    def page(self, tile: Tile, at: str) -> Page | None:
        """A page of a tile, the first for ""; None where the tile is larger than can be asked for.

        Raises:
            UsageError: the key is refused.
            Unreachable: the service does not answer.
            Lapsed: `at` is no longer known.
        """

    def image(self, photo: Found) -> bytes:
        """The file of a photo.

        Raises:
            Gone: it is not given.
            Unreachable: the service does not answer.
        """

    def stop(self) -> None:
        """Ask for nothing any more, so that threads that wait for a turn end."""
