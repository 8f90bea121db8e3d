"""Map services as rasters: XYZ tiles, WMTS and WMS, read by window, politely, and kept on disk."""

from __future__ import annotations

from placevec.sources.services.address import is_service
from placevec.sources.services.opening import ServiceRaster, open_service

__all__ = ["ServiceRaster", "is_service", "open_service"]
