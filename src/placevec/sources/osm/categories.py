"""The category tree of places to go to: groups, and under them leaves, each with the tags that make it.

The keys and values are those of the OpenStreetMap wiki's "Map features". A line of a leaf is its name and its tags:
``key=value|value`` for one of several values, ``key=*`` for any value but those that say that there is nothing, and
``key=value&key=value`` for two tags that must both be there. Of an object that fits several leaves the first counts, so
that the leaves with ``*`` stand last in their group, and the groups with the more telling keys first. What has a
value of ``highway`` that is no leaf's is a road, and no place to go to, whatever else it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from placevec.errors import UsageError

NOTHING = frozenset({"no", "none", "vacant", "disused", "abandoned", "closed", "proposed", "construction"})
"""Values under which there is nothing to go to."""

_TABLE: dict[str, str] = {
    "health": """
        hospital            amenity=hospital healthcare=hospital
        clinic              amenity=clinic healthcare=clinic|centre
        doctor              amenity=doctors healthcare=doctor
        dentist             amenity=dentist healthcare=dentist
        pharmacy            amenity=pharmacy healthcare=pharmacy
        veterinary          amenity=veterinary
        social_facility     amenity=social_facility|nursing_home|social_centre
        other_health        healthcare=*
    """,
    "education": """
        kindergarten        amenity=kindergarten|childcare
        school              amenity=school
        university          amenity=university|college|research_institute
        training            amenity=language_school|music_school|driving_school|prep_school|training|dancing_school
    """,
    "food": """
        restaurant          amenity=restaurant|food_court
        cafe                amenity=cafe|internet_cafe
        fast_food           amenity=fast_food
        bar                 amenity=bar|pub|biergarten
        ice_cream           amenity=ice_cream shop=ice_cream
    """,
    "finance": """
        bank                amenity=bank office=bank
        atm                 amenity=atm
        money_exchange      amenity=bureau_de_change|money_transfer|payment_centre shop=money_lender|pawnbroker
    """,
    "religion": """
        church              amenity=place_of_worship&religion=christian
        mosque              amenity=place_of_worship&religion=muslim
        other_worship       amenity=place_of_worship|monastery
    """,
    "public": """
        town_hall           amenity=townhall office=government|administrative
        police              amenity=police
        fire_station        amenity=fire_station
        courthouse          amenity=courthouse|prison
        post_office         amenity=post_office|post_depot
        embassy             amenity=embassy office=diplomatic
    """,
    "transport": """
        railway_station     railway=station|halt public_transport=station&train=yes amenity=train_station
        subway_entrance     railway=subway_entrance|train_station_entrance
        tram_stop           railway=tram_stop
        bus_station         amenity=bus_station public_transport=station
        bus_stop            highway=bus_stop public_transport=platform&bus=yes
        ferry_terminal      amenity=ferry_terminal
        airport             aeroway=aerodrome|terminal|heliport
        taxi                amenity=taxi
        bicycle_rental      amenity=bicycle_rental|scooter_rental|kick-scooter_rental
        car_rental          amenity=car_rental|car_sharing shop=car_rental
        bicycle_parking     amenity=bicycle_parking|motorcycle_parking
        parking             amenity=parking
        fuel                amenity=fuel
        charging_station    amenity=charging_station
    """,
    "culture": """
        library             amenity=library|public_bookcase
        museum              tourism=museum|gallery
        theatre             amenity=theatre|arts_centre|concert_hall|music_venue|planetarium
        cinema              amenity=cinema
        community_centre    amenity=community_centre|events_venue|conference_centre|exhibition_centre
        nightclub           amenity=nightclub|stripclub|swingerclub
        gambling            amenity=casino|gambling leisure=adult_gaming_centre|amusement_arcade shop=lottery|bookmaker
    """,
    "sport": """
        sports_centre       leisure=sports_centre|sports_hall
        fitness             leisure=fitness_centre|fitness_station
        stadium             leisure=stadium
        pitch               leisure=pitch|track
        swimming            leisure=swimming_area|water_park|swimming_pool&access=yes
        golf                leisure=golf_course|miniature_golf
        marina              leisure=marina|slipway
        other_sport         leisure=ice_rink|bowling_alley|horse_riding|dance|disc_golf_course|escape_game club=sport
    """,
    "tourism": """
        hotel               tourism=hotel|hostel|guest_house|motel|apartment|chalet
        camp_site           tourism=camp_site|caravan_site|alpine_hut|wilderness_hut
        zoo                 tourism=zoo|theme_park|aquarium
        viewpoint           tourism=viewpoint
        artwork             tourism=artwork
        information         tourism=information
        beach               leisure=beach_resort
        attraction          tourism=attraction|picnic_site
        monument            historic=monument|memorial|wayside_cross|wayside_shrine
        castle              historic=castle|fort|manor|city_gate|ruins|archaeological_site|palace
        other_historic      historic=*
    """,
    "green": """
        park                leisure=park
        garden              leisure=garden
        playground          leisure=playground
        nature_reserve      leisure=nature_reserve
        dog_park            leisure=dog_park
        graveyard           amenity=grave_yard|crematorium
    """,
    "shop": """
        supermarket         shop=supermarket|wholesale
        convenience         shop=convenience|general|kiosk|variety_store
        bakery              shop=bakery|pastry|confectionery|chocolate
        food_shop           shop=butcher|greengrocer|deli|cheese|seafood|alcohol|wine|beverages|farm|coffee|frozen_food
        marketplace         amenity=marketplace
        mall                shop=mall|department_store
        clothes             shop=clothes|shoes|boutique|fashion|bag|leather|fabric|baby_goods|fashion_accessories
        jewellery           shop=jewelry|watches
        beauty              shop=hairdresser|beauty|cosmetics|perfumery|tattoo|massage|nails
        care_shop           shop=chemist|optician|hearing_aids|medical_supply|herbalist|nutrition_supplements
        home_shop           shop=furniture|interior_decoration|kitchen|houseware|bed|carpet|curtain|lighting|florist
        hardware            shop=doityourself|hardware|trade|paint|garden_centre|tool_hire|building_materials|glaziery
        electronics         shop=electronics|computer|mobile_phone|telecommunication|hifi|appliance|electrical
        books_gifts         shop=books|stationery|newsagent|gift|toys|music|art|antiques|second_hand|charity|games
        sports_shop         shop=sports|outdoor|bicycle|fishing|boat
        car_trade           shop=car|car_repair|car_parts|motorcycle|tyres amenity=car_wash|vehicle_inspection
        services            shop=laundry|dry_cleaning|tailor|travel_agency|ticket|copyshop|funeral_directors|photo
        other_shop          shop=*
    """,
    "work": """
        company             office=company|it|financial|consulting|architect|engineer|advertising_agency|yes
        estate_agent        office=estate_agent|property_management
        lawyer              office=lawyer|notary|accountant|tax_advisor|insurance
        association         office=ngo|association|foundation|political_party|union|religion|charity club=*
        coworking           office=coworking amenity=coworking_space
        craft               craft=*
        other_office        office=*
    """,
    "street": """
        bench               amenity=bench
        shelter             amenity=shelter
        toilets             amenity=toilets|shower
        drinking_water      amenity=drinking_water|water_point
        fountain            amenity=fountain
        post_box            amenity=post_box|parcel_locker
        recycling           amenity=recycling
        waste_basket        amenity=waste_basket|waste_disposal
        vending_machine     amenity=vending_machine
    """,
}


@dataclass(frozen=True)
class Category:
    """A leaf of the tree."""

    group: str  # the branch on which it is, such as "food"
    name: str  # its own name, such as "restaurant"
    tags: tuple[tuple[tuple[str, str], ...], ...]  # it fits if of one of these all (key, value) fit; "*" fits any value

    def fits(self, tags: Mapping[str, frozenset[str]]) -> bool:
        """Whether an object with these values of each key is one."""
        return any(all(_has(tags.get(key, frozenset()), value) for key, value in each) for each in self.tags)


def _has(values: frozenset[str], wanted: str) -> bool:
    return bool(values - NOTHING) if wanted == "*" else wanted in values


@dataclass(frozen=True)
class CategoryTree:
    """Leaves, in the order in which they are tried."""

    leaves: tuple[Category, ...]

    def __post_init__(self) -> None:
        names = [leaf.name for leaf in self.leaves]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise UsageError(f"a tree of categories with {'two leaves ' + twice[0] if twice else 'no leaf'}")

    def __len__(self) -> int:
        return len(self.leaves)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The leaves."""
        return tuple(leaf.name for leaf in self.leaves)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of their first leaf."""
        return tuple(dict.fromkeys(leaf.group for leaf in self.leaves))

    @cached_property
    def group_of(self) -> tuple[int, ...]:
        """The group of each leaf, as an index into `groups`."""
        return tuple(self.groups.index(leaf.group) for leaf in self.leaves)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """All keys that matter, those that stand alone first."""
        first = {each[0][0] for leaf in self.leaves for each in leaf.tags}
        rest = {key for leaf in self.leaves for each in leaf.tags for key, _ in each} - first
        return (*sorted(first), *sorted(rest))

    @cached_property
    def highways(self) -> frozenset[str]:
        """The values of `highway` that make a place."""
        return frozenset(value for leaf in self.leaves for each in leaf.tags for key, value in each if key == "highway")

    @cached_property
    def main_keys(self) -> tuple[str, ...]:
        """The keys of which an object must have one to be looked at."""
        return tuple(sorted({each[0][0] for leaf in self.leaves for each in leaf.tags}))

    def leaf_of(self, values: tuple[str | None, ...]) -> int:
        """The first leaf that fits the values of `keys` (None where a key is absent), -1 if none does.

        A value may hold several, as in "parking;fuel".
        """
        tags = {
            key: frozenset(part.strip() for part in value.split(";"))
            for key, value in zip(self.keys, values, strict=True)
            if value is not None
        }
        return next((row for row, leaf in enumerate(self.leaves) if leaf.fits(tags)), -1)


def read_tree(table: Mapping[str, str]) -> CategoryTree:
    """A tree from text: of each group its leaves, a line each, as this module writes them.

    Raises:
        UsageError: a line that is none, or two leaves of one name.
    """
    leaves = []
    for group, lines in table.items():
        for line in lines.strip().splitlines():
            name, *tags = line.split()
            if not tags or not all("=" in tag for tag in tags):
                raise UsageError(f"{line.strip()!r} is no leaf: write its name and tags, such as: cafe amenity=cafe")
            leaves.append(Category(group, name, tuple(each for tag in tags for each in _alternatives(tag))))
    return CategoryTree(tuple(leaves))


def _alternatives(text: str) -> list[tuple[tuple[str, str], ...]]:
    """What "key=a|b&other=c" allows: a and b are alternatives, and the conditions after & belong to the last."""
    (key, _, values), *more = (part.partition("=") for part in text.split("&"))
    *plain, last = values.split("|")
    also = tuple((other, value) for other, _, value in more)
    return [*(((key, value),) for value in plain), ((key, last), *also)]


CATEGORIES = read_tree(_TABLE)
"""The tree that is read where no other is given."""
