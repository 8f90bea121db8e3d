"""Photos of a region from Flickr and Google Places: tiles, pages, downloads, a journal to go on from, a photo list."""

from placevec.sources.crawl.base import Found, Page, Service
from placevec.sources.crawl.client import Client
from placevec.sources.crawl.flickr import Flickr
from placevec.sources.crawl.google_places import GooglePlaces
from placevec.sources.crawl.journal import Journal
from placevec.sources.crawl.pace import Pace
from placevec.sources.crawl.run import Crawl, CrawlSummary
from placevec.sources.crawl.tiles import Tile, root_tiles

__all__ = [
    "Client",
    "Crawl",
    "CrawlSummary",
    "Flickr",
    "Found",
    "GooglePlaces",
    "Journal",
    "Pace",
    "Page",
    "Service",
    "Tile",
    "root_tiles",
]
