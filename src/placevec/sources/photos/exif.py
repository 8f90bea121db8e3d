"""What a camera writes beside a photo: where and when it was taken, which way it looked, and how wide it saw.

Tags are those of EXIF 2.32 (CIPA DC-008), in three directories: the image's, the photo's and the GPS one. Cameras write
what they like; a value that cannot be read is none, and never an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from placevec.errors import FormatError
from placevec.sources.images.decode import HEAD, TIFF, exif_of, is_picture, opened, why_not
from placevec.sources.images.locate import position
from placevec.sources.photos.times import hour_of

NO_POSITION = "the file tells no position"
BROKEN_POSITION = "the position in the file cannot be read"

_PHOTO, _GPS = 0x8769, 0x8825  # the directories of the photo and of positions
_DESCRIPTION, _CHANGED, _ARTIST, _KEYWORDS = 0x010E, 0x0132, 0x013B, 0x9C9E  # of the image
# Of the photo: taken, digitised, and the offsets of both from UTC.
_TAKEN, _DIGITISED, _TAKEN_OFFSET, _DIGITISED_OFFSET = 0x9003, 0x9004, 0x9011, 0x9012
_FOCAL, _FOCAL_35, _PLANE_X, _PLANE_UNIT, _WIDTH = 0x920A, 0xA405, 0xA20E, 0xA210, 0xA002
_MM = {2: 25.4, 3: 10.0, 4: 1.0}  # millimetres in units of the focal plane: inch, centimetre, millimetre
_FILM_MM = 36.0  # width of a frame of 35 mm film


@dataclass(frozen=True)
class Exif:
    """What a file tells of its photo; None where it tells nothing.

    A position is what stands there, unchecked: it may lie beyond the Earth.
    """

    lon: float | None = None  # degrees
    lat: float | None = None  # degrees
    without: str = NO_POSITION  # why there is no position; "" where there is one
    taken: str | None = None  # ISO 8601 by the camera's clock, with its offset from UTC where the camera wrote one
    hour: float | None = None  # of the day by the camera's clock, 0 to 24
    month: int | None = None  # 1 to 12
    focal_mm: float | None = None  # focal length that would see as wide on 35 mm film: the angle of view
    lens_mm: float | None = None  # focal length of the lens itself
    heading: float | None = None  # degrees clockwise from north (true or magnetic, as the camera wrote it)
    altitude_m: float | None = None  # metres above sea level
    author: str | None = None
    tags: str | None = None  # separated by commas
    damaged: str = ""  # why the file itself cannot be read


FIELDS = ("taken", "hour", "month", "focal_mm", "lens_mm", "heading", "altitude_m", "author", "tags")
"""The names of what becomes columns of a photo list."""


def read_exif(path: str | Path) -> Exif:
    """The EXIF data of a picture; of a GeoTIFF its centre as the position. Nothing is decoded.

    A file that cannot be read tells nothing but why.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD)
            # PNG files of 16 bits are for GDAL to decode, yet Pillow reads their data.
            readable = is_picture(head) or head.startswith(b"\x89PNG\r\n\x1a\n")
            image = opened(handle, head, str(path)) if readable else None
            data = None if image is None else _directories(image)
    except OSError as error:
        return Exif(damaged=why_not(error))
    except FormatError as error:
        return Exif(damaged=str(error))
    found = Exif() if data is None else parse_exif(*data)
    if found.without and head.startswith(TIFF):
        at = position(path)
        if at is not None:
            return Exif(**{**vars(found), "lon": at[0], "lat": at[1], "without": ""})
    return found


def parse_exif(image: Mapping[int, Any], photo: Mapping[int, Any], gps: Mapping[int, Any]) -> Exif:
    """The same of the tags in the three directories."""
    lon, lat, without = _position(gps)
    taken, hour, month = _time(image, photo)
    focal, lens = _focal(photo)
    return Exif(
        lon=lon,
        lat=lat,
        without=without,
        taken=taken,
        hour=hour,
        month=month,
        focal_mm=focal,
        lens_mm=lens,
        heading=_heading(image, gps),
        altitude_m=_altitude(gps),
        author=_text(image.get(_ARTIST)),
        tags=_keywords(image.get(_KEYWORDS)),
    )


def _directories(image: Any) -> tuple[Mapping[int, Any], Mapping[int, Any], Mapping[int, Any]] | None:
    try:
        exif = exif_of(image)
        return dict(exif), dict(exif.get_ifd(_PHOTO)), dict(exif.get_ifd(_GPS))
    except Exception:  # a damaged directory makes Pillow raise almost anything
        return None


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None, str]:
    # 1 and 3: the hemispheres; 2 and 4: degrees, minutes and seconds of latitude and longitude.
    if gps.get(2) is None and gps.get(4) is None:
        return None, None, NO_POSITION
    lat, lon = _degrees(gps.get(2)), _degrees(gps.get(4))
    if lat is None or lon is None:
        return None, None, BROKEN_POSITION
    lat = -lat if _word(gps.get(1)).startswith("S") else lat
    lon = -lon if _word(gps.get(3)).startswith("W") else lon
    return lon, lat, ""


def _degrees(value: Any) -> float | None:
    parts = [_number(part) for part in value] if isinstance(value, tuple | list) else [_number(value)]
    if not 1 <= len(parts) <= 3 or any(part is None for part in parts):
        return None
    return sum(float(part or 0.0) / 60.0**place for place, part in enumerate(parts))


def _time(image: Mapping[int, Any], photo: Mapping[int, Any]) -> tuple[str | None, float | None, int | None]:
    """When it was taken; the time of the last change stands for it in cameras that write no other.

    GPS time is left alone: it is UTC, and the hour of the day would have to come from the longitude, which is what a
    locator is asked for.
    """
    stamps = (
        (photo.get(_TAKEN), photo.get(_TAKEN_OFFSET)),
        (photo.get(_DIGITISED), photo.get(_DIGITISED_OFFSET)),
        (image.get(_CHANGED), None),
    )
    for stamp, offset in stamps:
        text = _text(stamp)
        if text is None:
            continue
        try:
            when = datetime.strptime(text[:19].replace("-", ":").replace("T", " "), "%Y:%m:%d %H:%M:%S")
        except ValueError:  # clocks that were never set write 0000:00:00
            continue
        iso = f"{when.isoformat()}{_offset(offset)}"
        return iso, hour_of(when), when.month
    return None, None, None


def _offset(value: Any) -> str:
    text = _text(value) or ""
    try:
        datetime.strptime(text.replace("Z", "+00:00"), "%z")
    except ValueError:
        return ""
    return text.replace("Z", "+00:00")


def _focal(photo: Mapping[int, Any]) -> tuple[float | None, float | None]:
    """The focal length on 35 mm film and of the lens, each None where unknown."""
    lens, film = _positive(photo.get(_FOCAL)), _positive(photo.get(_FOCAL_35))
    density, width = _positive(photo.get(_PLANE_X)), _positive(photo.get(_WIDTH))
    unit = _MM.get(int(_number(photo.get(_PLANE_UNIT)) or 2))
    if film is None and lens is not None and density is not None and width is not None and unit is not None:
        # The sensor is `width` pixels wide, of which there are `density` to a unit.
        film = lens * _FILM_MM / (width / density * unit)
    return film, lens


def _heading(image: Mapping[int, Any], gps: Mapping[int, Any]) -> float | None:
    found = _number(gps.get(17))
    if found is None:
        # Mapillary's apps write the compass as JSON in the description of the image.
        text = _text(image.get(_DESCRIPTION)) or ""
        try:
            found = _number(json.loads(text)["MAPCompassHeading"]["TrueHeading"]) if text.startswith("{") else None
        except (ValueError, KeyError, TypeError):
            return None
    return None if found is None or not -360.0 <= found <= 720.0 else found % 360.0


def _altitude(gps: Mapping[int, Any]) -> float | None:
    metres = _number(gps.get(6))
    below = gps.get(5) in (1, b"\x01")
    return None if metres is None else -metres if below else metres


def _keywords(value: Any) -> str | None:
    """Windows writes keywords in UTF-16 with semicolons between them."""
    if isinstance(value, tuple | list):
        value = bytes(int(one) & 0xFF for one in value if isinstance(one, int))
    if isinstance(value, bytes):
        value = value.decode("utf-16-le", errors="ignore")
    words = [word.strip() for word in (_text(value) or "").split(";")]
    return ",".join(word for word in words if word) or None


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return found if math.isfinite(found) else None  # 0/0 stands for unknown


def _positive(value: Any) -> float | None:
    found = _number(value)
    return found if found is not None and 0.0 < found < 1e6 else None


def _word(value: Any) -> str:
    return (_text(value) or "").upper()


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="ignore")
    if not isinstance(value, str):
        return None
    return value.replace("\x00", "").strip() or None
