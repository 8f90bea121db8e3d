"""Class tables of land-cover rasters: which codes there are, what they are called, and their official colours.

A table is written once and used wherever classes become numbers: code -> index, where 0 says that nothing is there
and i + 1 is class i. So a patch has one byte a pixel, and one-hot planes follow from the table alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, FormatError, UsageError

UNKNOWN = 255
"""The index that stands, in `ClassTable.lookup`, for a code that the table does not have."""

Unknown = str  # "error" or "nodata"


@dataclass(frozen=True)
class ClassTable:
    """The classes of a land-cover map, in the order of their indices.

    Raises:
        DataError: lengths differ, a code stands twice, a colour is none, or there are no classes or more than 254.
    """

    name: str  # as recipes name it
    codes: tuple[int, ...]  # the value of each class in the raster
    names: tuple[str, ...]  # as the official legend has it
    colours: tuple[str, ...]  # "#rrggbb", the official ones
    also: tuple[tuple[int, int], ...] = ()  # (another code, the code of the class that it stands for as well)
    nothing: tuple[int, ...] = ()  # codes that stand for no class at all: index 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.codes) <= UNKNOWN - 1:
            raise DataError(f"the class table {self.name!r} has {len(self.codes)} classes; give 1 to {UNKNOWN - 1}")
        if not len(self.codes) == len(self.names) == len(self.colours):
            raise DataError(f"the class table {self.name!r} needs a name and a colour for each of its codes")
        every = [*self.codes, *(code for code, _ in self.also), *self.nothing]
        twice = sorted({code for code in every if every.count(code) > 1})
        if twice:
            raise DataError(f"the class table {self.name!r} has the code {twice[0]} twice; a code has one meaning")
        strange = sorted({code for _, code in self.also} - set(self.codes))
        if strange:
            raise DataError(f"the class table {self.name!r} has no class {strange[0]} for another code to stand for")
        for colour in self.colours:
            if len(colour) != 7 or colour[0] != "#" or any(c not in "0123456789abcdef" for c in colour[1:].lower()):
                raise DataError(f"the class table {self.name!r} has the colour {colour!r}; write #rrggbb")

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def indices(self) -> dict[int, int]:
        """The index of every code that is known: 0 for nothing, i + 1 for class i."""
        found = {code: at + 1 for at, code in enumerate(self.codes)}
        found |= {code: found[stands_for] for code, stands_for in self.also}
        return found | dict.fromkeys(self.nothing, 0)

    def lookup(self, dtype: np.dtype[Any], *, unknown: Unknown = "error") -> NDArray[np.uint8]:
        """The index of every value of an integer type of one or two bytes, by the value taken as unsigned.

        Args:
            dtype: the type of the raster.
            unknown: "error" marks codes that are not known with `UNKNOWN`, "nodata" takes them for nothing.
        """
        if dtype.kind not in "iu" or dtype.itemsize > 2:
            raise UsageError(f"there is no table of all values of {dtype}; use `index`")
        out = np.full(1 << (8 * dtype.itemsize), UNKNOWN if unknown == "error" else 0, dtype=np.uint8)
        limits = np.iinfo(dtype)
        for code, index in self.indices.items():
            if limits.min <= code <= limits.max:
                out[code % len(out)] = index
        return out

    def marks(self, values: NDArray[Any], *, unknown: Unknown = "error") -> NDArray[np.uint8]:
        """Indices of values of any shape and type, `UNKNOWN` (or 0, see `lookup`) where a code is not known.

        The result is not to be written to.
        """
        found = np.asarray(values)
        if found.dtype.kind in "iu" and found.dtype.itemsize <= 2:
            table = self.lookup(found.dtype, unknown=unknown)
            if found.dtype.itemsize == 1:  # twice as fast as indexing
                return np.frombuffer(found.tobytes().translate(table.tobytes()), dtype=np.uint8).reshape(found.shape)
            return np.take(table, found.view(np.dtype(f"u{found.dtype.itemsize}")))
        known = np.array(sorted(self.indices), dtype=np.float64)
        index = np.array([self.indices[int(code)] for code in known], dtype=np.uint8)
        at = np.minimum(np.searchsorted(known, found), len(known) - 1)
        return np.where(known[at] == found, index[at], np.uint8(UNKNOWN if unknown == "error" else 0))

    def index(self, values: NDArray[Any], where: str = "") -> NDArray[np.uint8]:
        """The index of each value: 0 where nothing is (NaN and masked values included), i + 1 for class i.

        Args:
            values: codes, of any shape and number type.
            where: the raster that they come from, for the message.

        Raises:
            DataError: a code is not in the table.
        """
        found = np.ma.getdata(values)
        out = self.marks(found)
        if found.dtype.kind == "f":
            out = np.where(np.isnan(found), np.uint8(0), out)
        mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
        if mask is not None:
            out = np.where(mask, np.uint8(0), out)
        bad = out == UNKNOWN
        if bad.any():
            raise self.unknown_code(found[bad][0], where)
        return out

    def unknown_code(self, code: Any, where: str) -> DataError:
        """The error that says that a code is not in the table."""
        shown = f"{code:g}" if isinstance(code, float | np.floating) else str(int(code))
        return DataError(
            f"{where or 'the raster'} holds the class code {shown}, which the class table {self.name!r} does not "
            'have: give a class table of your own (a JSON file), or unknown = "nodata" to take it for nothing'
        )

    def to_json(self) -> dict[str, Any]:
        """The table as JSON; `from_json` reads it."""
        rows = [
            {"code": code, "name": name, "colour": colour}
            for code, name, colour in zip(self.codes, self.names, self.colours, strict=True)
        ]
        found: dict[str, Any] = {"name": self.name, "classes": rows}
        if self.also:
            found["also"] = [list(pair) for pair in self.also]
        if self.nothing:
            found["nothing"] = list(self.nothing)
        return found

    @classmethod
    def from_json(cls, given: Mapping[str, Any], name: str = "") -> ClassTable:
        """The table that `to_json` wrote, or a plain object ``{"1": "rice", "2": "village"}``.

        Args:
            given: {"name", "classes": [{"code", "name", "colour"}], "also", "nothing"}; colours may be left out, and
                so may all but the classes.
            name: what it is called where it does not say so.

        Raises:
            FormatError: it is neither.
        """
        try:
            if "classes" not in given:
                rows = [{"code": code, "name": label} for code, label in given.items()]
                given = {"classes": sorted(rows, key=lambda row: int(row["code"]))}
            rows = list(given["classes"])
            codes = tuple(_whole(row["code"]) for row in rows)
            labels = tuple(_label(row["name"]) for row in rows)
            colours = tuple(str(row.get("colour") or _colour(at)) for at, row in enumerate(rows))
            also = tuple((_whole(a), _whole(b)) for a, b in given.get("also", ()))
            nothing = tuple(_whole(code) for code in given.get("nothing", ()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"the class table {name or given!r} cannot be read ({error}): write "
                '{"name": ..., "classes": [{"code": 1, "name": "rice", "colour": "#00ff00"}, ...]}'
            ) from None
        return cls(str(given.get("name") or name or "classes"), codes, labels, colours, also, nothing)


def class_table(name: str | Path | ClassTable) -> ClassTable:
    """A table by name ("nlcd", "worldcover", "lc100", "corine") or from a JSON file of one's own.

    Raises:
        UsageError: it is neither the name of a table nor a file.
        FormatError: the file holds none.
    """
    if isinstance(name, ClassTable):
        return name
    if isinstance(name, str) and name.lower() in TABLES:
        return TABLES[name.lower()]
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{str(name)!r} is no class table: give {', '.join(TABLES)}, or a JSON file of your own")
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise FormatError(f"{path}: this is no JSON ({error}); write code, name and colour of each class") from None
    if not isinstance(given, dict):
        raise FormatError(f"{path}: no JSON object; write code, name and colour of each class")
    return ClassTable.from_json(given, path.stem)


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise ValueError(f"{value!r} is no whole number")
    return number


def _label(value: Any) -> str:
    # Legends for captions give several words for a class, the name first.
    text = value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{value!r} is no name")
    return text.strip()


def _colour(at: int) -> str:
    """A colour for a class without one: hues by the golden angle, so that neighbours differ."""
    import colorsys

    red, green, blue = colorsys.hls_to_rgb(at * 0.618034 % 1.0, 0.35 + 0.15 * (at % 3), 0.6)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _table(name: str, rows: str, also: Sequence[tuple[int, int]] = (), nothing: Sequence[int] = ()) -> ClassTable:
    split = [line.split(maxsplit=2) for line in rows.strip().splitlines()]
    codes = tuple(int(code) for code, _, _ in split)
    colours = tuple(f"#{colour}" for _, colour, _ in split)
    return ClassTable(name, codes, tuple(label for _, _, label in split), colours, tuple(also), tuple(nothing))


# Multi-Resolution Land Characteristics Consortium, "National Land Cover Database Class Legend"; 51 and 72 to 74 are
# Alaska's. 0 and 250 are what the files hold outside the mapped area.
_NLCD = _table(
    "nlcd",
    """
    11 466b9f Open Water
    12 d1def8 Perennial Ice/Snow
    21 dec5c5 Developed, Open Space
    22 d99282 Developed, Low Intensity
    23 eb0000 Developed, Medium Intensity
    24 ab0000 Developed, High Intensity
    31 b3ac9f Barren Land
    41 68ab5f Deciduous Forest
    42 1c5f2c Evergreen Forest
    43 b5c58f Mixed Forest
    51 af963c Dwarf Scrub
    52 ccb879 Shrub/Scrub
    71 dfdfc2 Grassland/Herbaceous
    72 d1d182 Sedge/Herbaceous
    73 a3cc51 Lichens
    74 82ba9e Moss
    81 dcd939 Pasture/Hay
    82 ab6c28 Cultivated Crops
    90 b8d9eb Woody Wetlands
    95 6c9fb8 Emergent Herbaceous Wetlands
    """,
    nothing=(0, 250, 255),
)

# ESA WorldCover 10 m 2020 and 2021, Product User Manual; the colours are those of the files.
_WORLDCOVER = _table(
    "worldcover",
    """
    10 006400 Tree cover
    20 ffbb22 Shrubland
    30 ffff4c Grassland
    40 f096ff Cropland
    50 fa0000 Built-up
    60 b4b4b4 Bare / sparse vegetation
    70 f0f0f0 Snow and ice
    80 0064c8 Permanent water bodies
    90 0096a0 Herbaceous wetland
    95 00cf75 Mangroves
    100 fae6a0 Moss and lichen
    """,
    nothing=(0, 255),
)

# Copernicus Global Land Service, Land Cover 100 m collection 3, Product User Manual, discrete classification, in the
# order of the codes. 0 is "unknown: not enough data", 255 the nodata of the files.
_LC100 = _table(
    "lc100",
    """
    20 ffbb22 Shrubs
    30 ffff4c Herbaceous vegetation
    40 f096ff Cultivated and managed vegetation / agriculture
    50 fa0000 Urban / built up
    60 b4b4b4 Bare / sparse vegetation
    70 f0f0f0 Snow and ice
    80 0032c8 Permanent water bodies
    90 0096a0 Herbaceous wetland
    100 fae6a0 Moss and lichen
    111 58481f Closed forest, evergreen needle leaf
    112 009900 Closed forest, evergreen broad leaf
    113 70663e Closed forest, deciduous needle leaf
    114 00cc00 Closed forest, deciduous broad leaf
    115 4e751f Closed forest, mixed
    116 007800 Closed forest, not matching any of the other definitions
    121 666000 Open forest, evergreen needle leaf
    122 8db400 Open forest, evergreen broad leaf
    123 8d7400 Open forest, deciduous needle leaf
    124 a0dc00 Open forest, deciduous broad leaf
    125 929900 Open forest, mixed
    126 648c00 Open forest, not matching any of the other definitions
    200 000080 Oceans, seas
    """,
    nothing=(0, 255),
)

# European Environment Agency, CORINE Land Cover nomenclature, level 3. The rasters hold either these codes or the
# grid codes 1 to 44, which number them in this order: both are read. Unclassified and nodata stand for nothing: 990,
# 995 and 999, as grid codes 48 to 50, and 255 or -128 according to the edition.
_CORINE_ROWS = """
    111 e6004d Continuous urban fabric
    112 ff0000 Discontinuous urban fabric
    121 cc4df2 Industrial or commercial units
    122 cc0000 Road and rail networks and associated land
    123 e6cccc Port areas
    124 e6cce6 Airports
    131 a600cc Mineral extraction sites
    132 a64d00 Dump sites
    133 ff4dff Construction sites
    141 ffa6ff Green urban areas
    142 ffe6ff Sport and leisure facilities
    211 ffffa8 Non-irrigated arable land
    212 ffff00 Permanently irrigated land
    213 e6e600 Rice fields
    221 e68000 Vineyards
    222 f2a64d Fruit trees and berry plantations
    223 e6a600 Olive groves
    231 e6e64d Pastures
    241 ffe6a6 Annual crops associated with permanent crops
    242 ffe64d Complex cultivation patterns
    243 e6cc4d Land principally occupied by agriculture, with significant areas of natural vegetation
    244 f2cca6 Agro-forestry areas
    311 80ff00 Broad-leaved forest
    312 00a600 Coniferous forest
    313 4dff00 Mixed forest
    321 ccf24d Natural grasslands
    322 a6ff80 Moors and heathland
    323 a6e64d Sclerophyllous vegetation
    324 a6f200 Transitional woodland-shrub
    331 e6e6e6 Beaches, dunes, sands
    332 cccccc Bare rocks
    333 ccffcc Sparsely vegetated areas
    334 000000 Burnt areas
    335 a6e6cc Glaciers and perpetual snow
    411 a6a6ff Inland marshes
    412 4d4dff Peat bogs
    421 ccccff Salt marshes
    422 e6e6ff Salines
    423 a6a6e6 Intertidal flats
    511 00ccf2 Water courses
    512 80f2e6 Water bodies
    521 00ffa6 Coastal lagoons
    522 a6ffe6 Estuaries
    523 e6f2ff Sea and ocean
    """
_CORINE = _table(
    "corine",
    _CORINE_ROWS,
    also=[(at + 1, int(row.split()[0])) for at, row in enumerate(_CORINE_ROWS.strip().splitlines())],
    nothing=(0, 48, 49, 50, 255, 990, 995, 999, -128),
)

TABLES: Mapping[str, ClassTable] = {table.name: table for table in (_NLCD, _WORLDCOVER, _LC100, _CORINE)}
"""The tables that are built in, by name."""
