"""Writing the generated country to files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import MissingExtra
from placevec.files import whole, write_bytes, write_text
from placevec.geo.cells import H3Cells
from placevec.geo.frames import read_crs, transform
from placevec.geo.sphere import LonLat
from placevec.registry import need
from placevec.sources.georeference import transformer
from placevec.sources.world.cover import CLASSES, COLOURS
from placevec.sources.world.imagery import BANDS
from placevec.sources.world.osm import country_extract, write_osm
from placevec.sources.world.roads import KINDS, SPEED_KMH
from placevec.sources.world.sheets import csv_text, texts
from placevec.sources.world.timetable import gtfs
from placevec.sources.world.urban import RESOLUTIONS as URBAN

if TYPE_CHECKING:
    from placevec.sources.world.country import World
    from placevec.sources.world.photo_facts import PhotoFacts
    from placevec.sources.world.photos import Photos
    from placevec.table import Places


def write_world(world: World, folder: Path, crs: str | None) -> dict[str, Path]:
    """See `World.write`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}

    def text(name: str, content: str) -> None:
        paths[name.partition(".")[0] if name.endswith(".geojson") else name] = folder / name
        write_text(folder / name, content)

    towns = world.towns
    country = {"name": world.name, "seed": world.seed, "size": world.size, "generated_by": "placevec"}
    text("boundary.geojson", _geojson([(world.boundary, country)]))
    capitals = [towns.name[i] for i in world.capitals]
    text(
        "provinces.geojson",
        _geojson(
            (shape, {"name": name, "capital": capital})
            for shape, name, capital in zip(world.provinces, world.province_names, capitals, strict=True)
        ),
    )
    where = world.grid.lonlat(towns.col, towns.row)
    text(
        "towns.geojson",
        _geojson(
            (shapely.Point(lon, lat), {"name": name, "people": round(people), "people_2015": round(before)})
            for lon, lat, name, people, before in zip(
                where.lon, where.lat, towns.name, towns.people, towns.people_before, strict=True
            )
        ),
    )
    text("pois.geojson", _pois(world))
    text("roads.geojson", _roads(world))
    text("targets.csv", _targets(world))
    text("urban.csv", _urban(world))
    for name in ("dem", "landcover_2015", "landcover_2025", "imagery_2015", "imagery_2025", "lights"):
        paths[name] = folder / f"{name}.tif"
        _raster(world, name, paths[name], crs)
    text("classes.json", _classes())
    text("photos.csv", _photos(world, folder / "photos"))
    text("captions.json", _captions(world, folder / "chips"))
    paths["photos"], paths["chips"], paths["gtfs.zip"] = folder / "photos", folder / "chips", folder / "gtfs.zip"
    write_bytes(paths["gtfs.zip"], _gtfs(world))
    if _osm(world, folder / "country.osm.pbf"):
        paths["country.osm.pbf"] = folder / "country.osm.pbf"
    return paths


def _geojson(features: Iterable[tuple[Any, Mapping[str, Any]]]) -> str:
    pairs = list(features)
    shapes = np.array([shape for shape, _ in pairs], dtype=object)
    rounded = shapely.transform(shapes, lambda xy: np.round(xy, 6))
    lines = [
        f'{{"type":"Feature","properties":{json.dumps(properties, ensure_ascii=False)},"geometry":{shape}}}'
        for shape, (_, properties) in zip(shapely.to_geojson(rounded), pairs, strict=True)
    ]
    return '{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n"


def _pois(world: World) -> str:
    pois = world.pois
    where = world.grid.lonlat(pois.col, pois.row)
    return _geojson(
        (shapely.Point(lon, lat), {"id": f"poi-{i:05d}", "category": category, "name": name})
        for i, (lon, lat, category, name) in enumerate(zip(where.lon, where.lat, pois.category, pois.name, strict=True))
    )


def _roads(world: World) -> str:
    roads = world.roads
    joined = shapely.multilinestrings([shapely.LineString(line) for line in roads.lines])
    west, _, east, _ = world.grid.bounds
    if west >= -180 and east <= 180:  # all at once
        shapes = list(shapely.get_parts(world.place_geometry(joined)))
    else:
        shapes = [world.place_geometry(shapely.LineString(line)) for line in roads.lines]
    return _geojson(
        (
            shape,
            {
                "id": i,
                "from": int(u),
                "to": int(v),
                "highway": KINDS[kind],
                "length_m": round(float(length), 1),
                "maxspeed": SPEED_KMH[KINDS[kind]],
            },
        )
        for i, (shape, (u, v), kind, length) in enumerate(
            zip(shapes, roads.edges, roads.kind, roads.length_m, strict=True)
        )
    )


def _targets(world: World) -> str:
    places = world.target_places()
    names = [name for name in places.attributes if not name.endswith("_expected")]
    names += [name for name in places.attributes if name.endswith("_expected")]
    columns = [texts(places.column(name)) for name in names]
    rows = zip(places.ids, texts(places.lon), texts(places.lat), *columns, strict=True)
    return csv_text(["h3", "lon", "lat", *names], rows)


def _urban(world: World) -> str:
    columns = dict(world.urban)
    cells = columns.pop("h3")
    where = H3Cells(URBAN[world.size]).centre(cells)
    values = [texts(column) for column in (where.lon, where.lat, *columns.values())]
    return csv_text(["h3", "lon", "lat", *columns], zip((f"{cell:x}" for cell in cells.tolist()), *values, strict=True))


def _raster(world: World, name: str, path: Path, crs: str | None) -> None:
    rasterio = need("rasterio", extra="raster", purpose="writing rasters")
    affine = need("affine", extra="raster", purpose="writing rasters")
    pixels = world.array(name)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if crs is None:
        grid = world.grid
        step = (grid.bounds[2] - grid.bounds[0]) / pixels.shape[2], (grid.bounds[3] - grid.bounds[1]) / pixels.shape[1]
        geotransform: tuple[float, ...] = (step[0], 0.0, grid.bounds[0], 0.0, -step[1], grid.bounds[3])
        system = "EPSG:4326"
    else:
        pixels, geotransform = _warped(world, name, pixels, crs)
        system = read_crs(crs).to_wkt()
    count, height, width = pixels.shape
    nodata = {"dem": -9999.0}.get(name, 0 if crs is not None or name.startswith("landcover") else None)
    options: dict[str, Any] = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 4}
    options["predictor"] = 3 if name == "dem" else 1 if name.startswith("landcover") else 2
    with (
        whole(path) as part,
        rasterio.open(
            part, "w", driver="GTiff", dtype=pixels.dtype, count=count, height=height, width=width, crs=system,
            transform=affine.Affine(*geotransform), nodata=nodata, **options,
        ) as out,
    ):  # fmt: skip
        out.write(pixels)
        if name.startswith("landcover"):
            out.write_colormap(1, {key: (*COLOURS[key], 255) for key in CLASSES})
            out.update_tags(**{f"class_{key}": label for key, label in CLASSES.items()})
        if name.startswith("imagery"):
            for band, label in enumerate(BANDS, 1):
                out.set_band_description(band, label)


def _classes() -> str:
    """The class table of the land-cover rasters, as `placevec.sources.classes` reads it."""
    rows = [
        {"code": key, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*COLOURS[key])}
        for key, name in CLASSES.items()
    ]
    return json.dumps({"name": "arcadia", "classes": rows, "nothing": [0]}, indent=1) + "\n"


def _warped(world: World, name: str, pixels: NDArray[Any], crs: str) -> tuple[NDArray[Any], tuple[float, ...]]:
    """The raster in another coordinate system, in square pixels of about its own size."""
    grid = world.grid
    t, zero = np.linspace(0, 1, 65), np.zeros(65)
    rim_c = np.concatenate([t, zero + 1, t, zero]) * grid.width
    rim_r = np.concatenate([zero, t, zero + 1, t]) * grid.height
    rim: LonLat = grid.lonlat(rim_c, rim_r)
    x, y = transform(rim, "OGC:CRS84", crs)
    step = grid.metres * grid.width / pixels.shape[2]
    if read_crs(crs).is_geographic:
        step = grid.step[1] * grid.height / pixels.shape[1]
    west, north = float(np.floor(x.min() / step) * step), float(np.ceil(y.max() / step) * step)
    width, height = int(np.ceil((x.max() - west) / step)), int(np.ceil((north - y.min()) / step))
    raster = world.raster(name)
    out = np.zeros((len(pixels), height, width), dtype=pixels.dtype)
    back = transformer(read_crs(crs), inverse=True)
    rows = max(1, (1 << 19) // width)
    for first in range(0, height, rows):
        last = min(first + rows, height)
        px, py = np.meshgrid(west + (np.arange(width) + 0.5) * step, north - (np.arange(first, last) + 0.5) * step)
        col, row = raster.pixel(*back.transform(px.ravel(), py.ravel()))
        values, valid = raster.gather(col, row, resampling="nearest" if name.startswith("landcover") else "bilinear")
        values = np.where(valid, values, -9999.0 if name == "dem" else 0.0)
        values = values if pixels.dtype.kind == "f" else np.rint(values)
        out[:, first:last] = values.T.reshape(len(pixels), last - first, width).astype(pixels.dtype)
    return out, (step, 0.0, west, 0.0, -step, north)


def _photos(world: World, folder: Path) -> str:
    pil = need("PIL.Image", extra="raster", purpose="writing photos")
    places, photos, facts = world.photo_places(), world.photos, world.photo_facts
    names = [f"{name}.jpg" for name in places.ids]
    with whole(folder) as part:
        part.mkdir()
        for i, name in enumerate(names):
            picture = pil.fromarray(photos.image[i].transpose(1, 2, 0))
            picture.save(part / name, quality=90, exif=_exif(places, photos, facts, i))
    columns = {
        "id": places.ids,
        "file": [f"photos/{name}" for name in names],
        "lon": [f"{value:.7f}" for value in places.lon],
        "lat": [f"{value:.7f}" for value in places.lat],
        "heading": [f"{value:.2f}" for value in photos.heading],
        "province": places.column("province"),
        "place": places.column("place"),
        "land_cover": places.column("land_cover"),
        "taken": facts.taken,
        "hour": [_known(value, ".4f") for value in facts.hour],
        "month": [_known(value, ".0f") for value in facts.month],
        "focal_mm": [_known(value, "g") for value in facts.focal_mm],
        "tags": facts.tags,
    }
    return csv_text(list(columns), zip(*columns.values(), strict=True))


def _exif(places: Places, photos: Photos, facts: PhotoFacts, i: int) -> bytes:
    """The EXIF data of a photo: its position and heading, and what else is known of it."""
    exif = need("PIL.Image", extra="raster", purpose="writing photos").Exif()
    exif[0x010F], exif[0x0110] = "placevec", "world"
    camera: dict[int, Any] = {}
    if facts.taken[i] is not None:
        # The time of the last change, and that of the picture.
        exif[0x0132] = camera[0x9003] = facts.taken[i].replace("-", ":").replace("T", " ")
    if np.isfinite(facts.focal_mm[i]):
        rational = need("PIL.TiffImagePlugin", extra="raster", purpose="writing photos").IFDRational
        camera[0x920A] = rational(round(10 * float(facts.lens_mm[i])), 10)
        camera[0xA405] = int(facts.focal_mm[i])
    if facts.tags[i] is not None:
        exif[0x9C9E] = facts.tags[i].replace(",", ";").encode("utf-16-le")  # the keywords of Windows
    if camera:
        exif[0x8769] = camera
    exif[0x8825] = {
        1: "N" if places.lat[i] >= 0 else "S",
        2: _sexagesimal(abs(float(places.lat[i]))),
        3: "E" if places.lon[i] >= 0 else "W",
        4: _sexagesimal(abs(float(places.lon[i]))),
        16: "T",
        17: round(float(photos.heading[i]), 2),
    }
    content: bytes = exif.tobytes()
    return content


def _known(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else ""


def _sexagesimal(degrees: float) -> tuple[Any, Any, Any]:
    rational = need("PIL.TiffImagePlugin", extra="raster", purpose="writing photos").IFDRational
    # Five digits of a second are 0.3 mm. Rounding the whole first keeps seconds below 60.
    units = round(degrees * 3600 * 100_000)
    minutes, seconds = divmod(units, 60 * 100_000)
    return rational(minutes // 60, 1), rational(minutes % 60, 1), rational(seconds, 100_000)


def _captions(world: World, folder: Path) -> str:
    pil = need("PIL.Image", extra="raster", purpose="writing chips")
    chips, places = world.chips, world.chip_places()
    images: list[dict[str, Any]] = []
    number = 0
    with whole(folder) as part:
        part.mkdir()
        for i, captions in enumerate(chips.captions):
            name = f"{places.ids[i]}.png"
            pil.fromarray(chips.image[i][[2, 1, 0]].transpose(1, 2, 0)).save(part / name, compress_level=4)
            sentences = [
                {"raw": raw, "tokens": raw.replace(" .", "").split(), "imgid": i, "sentid": number + k}
                for k, raw in enumerate(captions)
            ]
            images.append(
                {
                    "filename": name,
                    "imgid": i,
                    "split": str(chips.split[i]),
                    "sentids": [number + k for k in range(len(captions))],
                    "sentences": sentences,
                    "lon": round(float(places.lon[i]), 7),
                    "lat": round(float(places.lat[i]), 7),
                    "label": CLASSES[int(chips.label[i])],
                }
            )
            number += len(captions)
    return json.dumps({"dataset": f"arcadia-{world.seed}", "images": images}, ensure_ascii=False) + "\n"


def _gtfs(world: World) -> bytes:
    return gtfs(world.transit, world.grid, f"{world.name} Transit")


def _osm(world: World, path: Path) -> bool:
    """Write the extract; without osmium, which nothing else here needs, it is left out, and that is said."""
    try:
        write_osm(path, country_extract(world))
    except MissingExtra as error:
        warnings.warn(f"{path} is left out: {error}", stacklevel=4)
        return False
    return True
