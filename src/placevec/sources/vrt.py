"""Many raster files on one pixel grid as one raster: orthophotos are delivered in sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from pyproj import CRS

from placevec.errors import CrsError, SchemaError, UsageError
from placevec.geo.frames import read_crs
from placevec.sources.gdal import GdalReader
from placevec.sources.rasters import Raster

_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32"}
_TYPES |= {"int32": "Int32", "float32": "Float32", "float64": "Float64"}
_ALIGNED = 0.02  # pixels by which a sheet may lie beside the grid


def open_sheets(paths: Sequence[str | Path], name: str = "") -> Raster:
    """The raster that several files are together; where none lies nothing is valid, where two do the last one counts.

    Nothing is copied: GDAL reads the sheets by a description of where each lies (its virtual format).

    Args:
        paths: files of one coordinate system, pixel size, number of bands and type.
        name: what the raster is called in messages; by default after the first file.

    Raises:
        UsageError: no file is named.
        SchemaError: bands or types differ, or a sheet does not fit the pixel grid of the first.
        CrsError: a sheet does not say where it lies, or is in another system than the first.
    """
    if not paths:
        raise UsageError("no sheet is named: give at least one file")
    sheets = [(str(path), GdalReader(str(path))) for path in paths]
    first_name, first = sheets[0]
    bands = len(first.bands)
    if first.dtype.name not in _TYPES:
        raise SchemaError(f"{first_name}: sheets of {first.dtype} cannot be joined; give one file")
    corners = []
    for path, sheet in sheets:
        if sheet.crs_wkt is None or sheet.transform is None:
            raise CrsError(f"{path} does not say where it lies; write it into the file with gdal_edit.py")
        corners.append(_offset(path, sheet, first_name, first))
    left, top = min(col for col, _ in corners), min(row for _, row in corners)
    right = max(col + sheet.width for (col, _), (_, sheet) in zip(corners, sheets, strict=True))
    below = max(row + sheet.height for (_, row), (_, sheet) in zip(corners, sheets, strict=True))
    assert first.transform is not None
    a, b, c, d, e, f = first.transform
    origin = (a * left + b * top + c, a, b, d * left + e * top + f, d, e)
    lines = [f'<VRTDataset rasterXSize="{right - left}" rasterYSize="{below - top}">']
    lines.append(f"<SRS>{escape(str(first.crs_wkt))}</SRS>")
    lines.append(f"<GeoTransform>{', '.join(repr(float(value)) for value in origin)}</GeoTransform>")
    places = [(str(Path(path).resolve()), col - left, row - top, sheet.width, sheet.height, sheet.bands)
              for (path, sheet), (col, row) in zip(sheets, corners, strict=True)]  # fmt: skip
    for band in range(bands):
        lines.append(f'<VRTRasterBand dataType="{_TYPES[first.dtype.name]}" band="{band + 1}">')
        lines += [_source(*place[:5], str(place[5][band])) for place in places]
        lines.append("</VRTRasterBand>")
    lines.append('<MaskBand><VRTRasterBand dataType="Byte">')
    lines += [_source(*place[:5], "mask,1") for place in places]
    lines.append("</VRTRasterBand></MaskBand></VRTDataset>")
    raster = Raster("".join(lines))
    raster.href = name or f"{Path(first_name).name} and {len(sheets) - 1} more"
    return raster


def _offset(path: str, sheet: GdalReader, first_name: str, first: GdalReader) -> tuple[int, int]:
    """Column and row of a sheet's corner on the pixel grid of the first."""
    if len(sheet.bands) != len(first.bands) or sheet.dtype != first.dtype:
        raise SchemaError(
            f"{path} has {len(sheet.bands)} bands of {sheet.dtype}, {first_name} has {len(first.bands)} of "
            f"{first.dtype}: sheets of one raster are alike"
        )
    own, other = read_crs(sheet.crs_wkt), read_crs(first.crs_wkt)
    if not _same(own, other):
        raise CrsError(f"{path} is in {own.name}, {first_name} in {other.name}: give sheets of one system")
    assert sheet.transform is not None
    assert first.transform is not None
    a, b, c, d, e, f = first.transform
    step = max(abs(a), abs(b), abs(d), abs(e))
    if any(abs(x - y) > 1e-6 * step for x, y in zip(_linear(sheet), (a, b, d, e), strict=True)):
        raise SchemaError(f"{path} has pixels of another size or direction than {first_name}; resample it first")
    x, y = sheet.transform[2] - c, sheet.transform[5] - f
    det = a * e - b * d
    col, row = (e * x - b * y) / det, (a * y - d * x) / det
    if max(abs(col - round(col)), abs(row - round(row))) > _ALIGNED:
        raise SchemaError(f"{path} lies between the pixels of {first_name}; resample it to the same grid")
    return round(col), round(row)


def _linear(sheet: GdalReader) -> tuple[float, float, float, float]:
    assert sheet.transform is not None
    a, b, _, d, e, _ = sheet.transform
    return a, b, d, e


def _same(a: CRS, b: CRS) -> bool:
    return bool(a.equals(b, ignore_axis_order=True))


def _source(path: str, col: int, row: int, width: int, height: int, band: str) -> str:
    size = f'xSize="{width}" ySize="{height}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(path)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{col}" yOff="{row}" {size}/></SimpleSource>'
    )
