"""Timetables: GTFS Schedule feeds (https://gtfs.org/schedule/reference), of files as they are found."""

from placevec.sources.gtfs.feed import Feed
from placevec.sources.gtfs.modes import MODES, mode_of
from placevec.sources.gtfs.read import read_feed
from placevec.sources.gtfs.times import UNTIMED

__all__ = ["MODES", "UNTIMED", "Feed", "mode_of", "read_feed"]
