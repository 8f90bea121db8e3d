"""What the tags of OpenStreetMap are called, as far as an image from above can show it.

The keys and values are those of the OpenStreetMap wiki's "Map features".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["thing", "line", "land"]


@dataclass(frozen=True)
class Word:
    """A tag and the word for what it stands for."""

    tag: str  # "key=value", or "key=*" for any value but "no"
    one: str  # "a tennis court"; of land "farmland"
    many: str  # "tennis courts"; of land the same as `one`
    form: Form  # things are counted, lines have a length, land has an area
    metres: float = 0.0  # width of a line in metres; square metres of a thing that is mapped as a point; 0: not read so
    concept: str = ""  # what land is in broad terms ("trees"), so that two maps do not name it twice

    @property
    def key(self) -> str:
        """The key of the tag."""
        return self.tag.partition("=")[0]

    @property
    def value(self) -> str:
        """The value of the tag, "*" for any."""
        return self.tag.partition("=")[2]


def _things(*rows: tuple[str, str, str, float]) -> tuple[Word, ...]:
    return tuple(Word(tag, one, many, "thing", metres) for tag, one, many, metres in rows)


def _lines(*rows: tuple[str, str, str, float]) -> tuple[Word, ...]:
    return tuple(Word(tag, one, many, "line", metres) for tag, one, many, metres in rows)


def _lands(*rows: tuple[str, str, str]) -> tuple[Word, ...]:
    return tuple(Word(tag, word, word, "land", 0.0, concept) for tag, word, concept in rows)


VISIBLE: tuple[Word, ...] = (
    *_things(
        ("sport=tennis", "a tennis court", "tennis courts", 0),
        ("sport=basketball", "a basketball court", "basketball courts", 0),
        ("sport=baseball", "a baseball field", "baseball fields", 0),
        ("sport=soccer", "a soccer field", "soccer fields", 0),
        ("sport=american_football", "a football field", "football fields", 0),
        ("sport=athletics", "a running track", "running tracks", 0),
        ("leisure=track", "a running track", "running tracks", 0),
        ("leisure=swimming_pool", "a swimming pool", "swimming pools", 0),
        ("leisure=stadium", "a stadium", "stadiums", 0),
        ("building=stadium", "a stadium", "stadiums", 0),
        ("leisure=pitch", "a sports field", "sports fields", 0),
        ("leisure=playground", "a playground", "playgrounds", 200),
        ("leisure=marina", "a marina with boats", "marinas with boats", 0),
        ("leisure=slipway", "a slipway", "slipways", 100),
        ("man_made=pier", "a pier", "piers", 5),
        ("man_made=breakwater", "a breakwater", "breakwaters", 10),
        ("man_made=bridge", "a bridge", "bridges", 0),
        ("man_made=storage_tank", "a storage tank", "storage tanks", 300),
        ("man_made=silo", "a silo", "silos", 80),
        ("man_made=water_tower", "a water tower", "water towers", 100),
        ("man_made=lighthouse", "a lighthouse", "lighthouses", 60),
        ("man_made=chimney", "a chimney", "chimneys", 30),
        ("man_made=crane", "a crane", "cranes", 100),
        ("man_made=wastewater_plant", "a sewage plant", "sewage plants", 0),
        ("power=plant", "a power plant", "power plants", 0),
        ("power=substation", "an electrical substation", "electrical substations", 0),
        ("generator:source=wind", "a wind turbine", "wind turbines", 400),
        ("generator:source=solar", "solar panels", "solar panels", 0),
        ("aeroway=helipad", "a helipad", "helipads", 300),
        ("aeroway=terminal", "an airport terminal", "airport terminals", 0),
        ("aeroway=apron", "an apron for planes", "aprons for planes", 0),
        ("aeroway=hangar", "a hangar", "hangars", 0),
        ("amenity=parking", "a parking lot", "parking lots", 0),
        ("amenity=fountain", "a fountain", "fountains", 30),
        ("amenity=place_of_worship", "a church or temple", "churches or temples", 400),
        ("building=church", "a church", "churches", 0),
        ("building=cathedral", "a cathedral", "cathedrals", 0),
        ("building=mosque", "a mosque", "mosques", 0),
        ("building=greenhouse", "a greenhouse", "greenhouses", 0),
        ("building=warehouse", "a warehouse", "warehouses", 0),
        ("building=industrial", "an industrial building", "industrial buildings", 0),
        ("building=apartments", "an apartment building", "apartment buildings", 0),
        ("building=house", "a house", "houses", 0),
        ("building=detached", "a house", "houses", 0),
        ("building=terrace", "a row of houses", "rows of houses", 0),
        ("building=farm", "a farm house", "farm houses", 0),
        ("building=hut", "a hut", "huts", 0),
        ("building=school", "a school building", "school buildings", 0),
        ("building=construction", "a building under construction", "buildings under construction", 0),
        ("building=*", "a building", "buildings", 0),
        ("natural=tree", "a tree", "trees", 40),
        ("natural=peak", "a mountain peak", "mountain peaks", 3000),
        ("junction=roundabout", "a roundabout", "roundabouts", 0),
    ),
    *_lines(
        ("aeroway=runway", "a runway", "runways", 40),
        ("aeroway=taxiway", "a taxiway", "taxiways", 20),
        ("highway=motorway", "a motorway", "motorways", 25),
        ("highway=trunk", "a main road", "main roads", 18),
        ("highway=primary", "a main road", "main roads", 14),
        ("highway=secondary", "a road", "roads", 10),
        ("highway=tertiary", "a road", "roads", 8),
        ("highway=unclassified", "a road", "roads", 6),
        ("highway=residential", "a street", "streets", 7),
        ("highway=living_street", "a street", "streets", 6),
        ("highway=service", "a service road", "service roads", 4),
        ("highway=track", "a dirt track", "dirt tracks", 3),
        ("highway=raceway", "a race track", "race tracks", 12),
        ("highway=path", "a path", "paths", 1.5),
        ("highway=footway", "a footpath", "footpaths", 1.5),
        ("highway=cycleway", "a cycle path", "cycle paths", 2),
        ("railway=rail", "a railway", "railway tracks", 5),
        ("railway=tram", "a tram line", "tram lines", 4),
        ("waterway=river", "a river", "rivers", 30),
        ("waterway=canal", "a canal", "canals", 12),
        ("waterway=stream", "a stream", "streams", 2),
        ("waterway=dam", "a dam", "dams", 10),
        ("natural=coastline", "a coastline", "coastlines", 20),
        ("natural=cliff", "a cliff", "cliffs", 6),
        ("natural=tree_row", "a row of trees", "rows of trees", 6),
        ("power=line", "a power line", "power lines", 4),
    ),
    *_lands(
        ("leisure=golf_course", "a golf course", "grass"),
        ("leisure=park", "a park", "park"),
        ("leisure=garden", "gardens", "park"),
        ("natural=beach", "a beach", "sand"),
        ("natural=sand", "sand", "sand"),
        ("natural=bare_rock", "bare rock", "bare"),
        ("natural=scree", "scree", "bare"),
        ("natural=shingle", "shingle", "bare"),
        ("natural=glacier", "a glacier", "snow"),
        ("natural=wetland", "wetland", "wetland"),
        ("natural=wood", "woods", "trees"),
        ("natural=scrub", "scrub", "shrubs"),
        ("natural=heath", "heath", "shrubs"),
        ("natural=grassland", "grassland", "grass"),
        ("natural=bay", "a bay", "water"),
        ("natural=water", "water", "water"),
        ("waterway=riverbank", "a river", "water"),
        ("landuse=forest", "forest", "trees"),
        ("landuse=orchard", "orchards", "crops"),
        ("landuse=vineyard", "vineyards", "crops"),
        ("landuse=farmland", "farmland", "crops"),
        ("landuse=meadow", "meadows", "grass"),
        ("landuse=grass", "lawns", "grass"),
        ("landuse=cemetery", "a cemetery", "park"),
        ("landuse=quarry", "a quarry", "bare"),
        ("landuse=landfill", "a landfill", "bare"),
        ("landuse=harbour", "a harbour", "harbour"),
        ("industrial=port", "a harbour", "harbour"),
        ("landuse=salt_pond", "salt ponds", "water"),
        ("landuse=reservoir", "a reservoir", "water"),
        ("landuse=industrial", "an industrial area", "industry"),
        ("landuse=commercial", "a commercial area", "built"),
        ("landuse=retail", "a shopping area", "built"),
        ("landuse=residential", "a residential area", "built"),
        ("landuse=construction", "a construction site", "building site"),
        ("landuse=railway", "railway grounds", "railway"),
        ("aeroway=aerodrome", "an airport", "airport"),
    ),
)
"""Words in the order in which they are tried: of an object with several tags the first that fits is taken."""
