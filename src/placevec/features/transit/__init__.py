"""What a timetable says of cells: stops, departures by day part, routes and modes."""

from placevec.features.transit.cells import DAY_PARTS, PLAIN, TransitCells, transit_cells

__all__ = ["DAY_PARTS", "PLAIN", "TransitCells", "transit_cells"]
