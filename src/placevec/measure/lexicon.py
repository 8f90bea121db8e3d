"""The words for columns: which columns speak of which concept, and what a place of much or little of it is called.

Patterns are searched (regular expressions, whatever the case) in the name of a column without "log1p(...)" and with
spaces for underscores. A column belongs to the first concept that matches; one that none matches speaks under its own
name. The table is in the docs, `docs/howto/analysis.md`; a test reads both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Concept:
    """What columns speak of.

    Attributes:
        name: of the concept, for tables and figures.
        pattern: a regular expression on names of columns.
        high: what a place of much of it is called.
        low: what a place of little of it is called; empty: nothing is said of little.
        noun: follows "more" and "less", where two clusters have to be told apart.
    """

    name: str
    pattern: str
    high: str
    low: str
    noun: str

    def word(self, z: float, strong: float) -> str:
        """The word for a mean of `z` standard deviations, "very" from `strong` on; empty where there is none."""
        plain = self.high if z > 0 else self.low
        return f"very {plain}" if plain and abs(z) >= strong else plain


LEXICON: tuple[Concept, ...] = (
    Concept("population", r"population|inhabitants|residents|households", "densely peopled", "sparsely peopled",
            "people"),
    Concept("jobs", r"\bjobs?\b|employ|workplaces", "many jobs", "few jobs", "jobs"),
    Concept("access", r"access|reachable|\d+ ?min\b", "well connected", "remote", "within reach"),
    Concept("gaps in transit", r"headway|nearest stop", "far from transit", "", "far from transit"),
    Concept("transit", r"departure|\bcalls\b|\bstops?\b|\broutes?\b|transi?t|transport|tram|metro|\bbus\b|\brail|ferry|"
            r"\bspan\b", "transit-rich", "transit-poor", "transit"),
    Concept("schools", r"school|educat|universit|college|kindergarten", "many schools", "few schools", "schools"),
    Concept("health", r"health|hospital|clinic|doctor|pharmac|dentist", "many clinics", "few clinics", "clinics"),
    Concept("shops", r"shop|retail|supermarket|\bmall|market|store", "many shops", "few shops", "shops"),
    Concept("food and drink", r"food|restaurant|cafe|\bbar\b|\bpub\b", "many places to eat", "few places to eat",
            "places to eat"),
    Concept("culture and tourism", r"cultur|touris|museum|theatre|hotel|attraction|historic|relig|worship",
            "many sights", "few sights", "sights"),
    Concept("offices", r"office|financ|\bbanks?\b|\bpublic\b|government|townhall", "many offices", "few offices",
            "offices"),
    Concept("leisure", r"sport|leisure|playground|pitch|\bparks?\b|garden|\bgreen", "many parks", "few parks",
            "parks and sport"),
    Concept("mixed uses", r"diversity|shannon|kinds|mixed", "mixed-use", "single-use", "mixed uses"),
    Concept("dead ends", r"dead ?end|cul de sac", "many dead ends", "few dead ends", "dead ends"),
    Concept("winding streets", r"circuity|sinuosity|orientation", "winding streets", "straight streets",
            "winding streets"),
    Concept("one-way streets", r"one ?way", "many one-way streets", "few one-way streets", "one-way streets"),
    Concept("aspect", r"eastness|northness|aspect", "", "", "aspect"),
    Concept("other roads", r"^other m$", "", "", "other roads"),
    Concept("centrality", r"betweenness|closeness|centrality", "central", "peripheral", "central"),
    Concept("main roads", r"motorway|trunk|primary|secondary|tertiary", "many main roads", "few main roads",
            "main roads"),
    Concept("walking and cycling", r"footway|pedestrian|\bpaths?\b|cycleway|steps|living street", "many footpaths",
            "few footpaths", "footpaths"),
    Concept("tracks", r"\btracks?\b|unclassified", "many tracks", "", "tracks"),
    Concept("long blocks", r"mean street|mean edge|block length", "long blocks", "short blocks", "long blocks"),
    Concept("street mesh", r"degree|link node|\b(alpha|beta|gamma)\b", "well-meshed streets", "poorly meshed streets",
            "meshed streets"),
    Concept("street density", r"street|road|intersection|junction|crossing|residential|service m", "dense",
            "thinly built", "streets"),
    Concept("relief", r"slope|relief|rugged|\btri\b|elevation sd|steep|topographic", "hilly", "flat", "hilly"),
    Concept("height", r"elevation|altitude|\bdem\b", "high-lying", "low-lying", "elevation"),
    Concept("trees", r"tree|forest|wood|canopy|ndvi", "wooded", "few trees", "wooded"),
    Concept("water", r"water|river|lake|\bsea\b|wetland|coast", "much water", "", "water"),
    Concept("farmland", r"crop|farm|agri|pasture|orchard|vineyard", "much farmland", "little farmland", "farmland"),
    Concept("grass", r"grass|meadow|shrub|heath", "grassy", "", "grass"),
    Concept("bare ground", r"\bbare|rock|\bsand\b|desert", "much bare ground", "", "bare ground"),
    Concept("buildings", r"build|built|urban|impervious|floor space|\bfsi\b|lights", "built-up", "open",
            "built-up"),
    Concept("places", r"\bpois?\b|\bpoints\b|places|amenit|count|density",
            "many places of interest", "few places of interest", "places of interest"),
)  # fmt: skip

# A modality's name may stand before the column, without log1p or within it.
_LOG = re.compile(r"^(?:[^()]*:)?log1p\((.*)\)$")
_UNIT = re.compile(r"_(per_(km2|h|cell)|km2|m2|km|m|s|h|min|percent|deg|share)$")


def plain_name(column: str) -> str:
    """A column's name as people read it: without log1p, prefix and unit, with spaces."""
    inner = _inner(column)
    return _UNIT.sub("", inner).replace("_", " ").strip() or column


def concept_of(column: str, lexicon: Sequence[Concept] = LEXICON) -> Concept:
    """The first concept whose pattern the column's name holds; else one of its own name."""
    inner = _inner(column).replace("_", " ")
    for one in lexicon:
        if re.search(one.pattern, inner, re.IGNORECASE):
            return one
    name = plain_name(column)
    return Concept(name, re.escape(inner), f"much {name}", f"little {name}", name)


def _inner(column: str) -> str:
    return _LOG.sub(r"\1", column).rpartition(":")[2]
