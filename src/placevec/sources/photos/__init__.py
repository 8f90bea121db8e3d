"""Photos with coordinates: read from folders and lists, filtered, listed, and read again as a source."""

from placevec.sources.photos.exif import Exif, read_exif
from placevec.sources.photos.found import Found, chips, folder_of_photos
from placevec.sources.photos.grouping import place_keys
from placevec.sources.photos.layouts import LAYOUTS, layout_of_photos
from placevec.sources.photos.lists import PhotoCard, is_photo_list, read_photo_card, read_photo_list, write_photo_list
from placevec.sources.photos.look import QualityRules
from placevec.sources.photos.report import PhotoReport, photo_report
from placevec.sources.photos.sift import Sifted, sift
from placevec.sources.photos.source import METADATA, PhotoList, photo_metadata
from placevec.sources.photos.tabular import Columns, table_of_photos

__all__ = [
    "LAYOUTS",
    "METADATA",
    "Columns",
    "Exif",
    "Found",
    "PhotoCard",
    "PhotoList",
    "PhotoReport",
    "QualityRules",
    "Sifted",
    "chips",
    "folder_of_photos",
    "is_photo_list",
    "layout_of_photos",
    "photo_metadata",
    "photo_report",
    "place_keys",
    "read_exif",
    "read_photo_card",
    "read_photo_list",
    "sift",
    "table_of_photos",
    "write_photo_list",
]
