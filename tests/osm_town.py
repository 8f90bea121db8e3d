"""Small OpenStreetMap files, made for tests."""

from __future__ import annotations

from pathlib import Path

LON, LAT = 13.0, 43.5
STEP = 0.001  # degrees between the lines of the grid on which the nodes lie


class Town:
    """An OpenStreetMap file in the making, its nodes on a grid."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[float, float], int] = {}
        self.lines: list[str] = []
        self.own: dict[int, str] = {}
        self.ways = 0

    def node(self, x: float, y: float, **tags: str) -> int:
        number = self.nodes.setdefault((x, y), len(self.nodes) + 1)
        if tags:
            self.own[number] = _tags(tags)
        return number

    def way(self, points: list[tuple[float, float]], **tags: str) -> int:
        return self.raw_way([self.node(*point) for point in points], **tags)

    def raw_way(self, nodes: list[int], **tags: str) -> int:
        """A way of nodes by number, which need not be in the file."""
        self.ways += 1
        refs = "".join(f'<nd ref="{node}"/>' for node in nodes)
        self.lines.append(f'<way id="{self.ways}" version="1">{refs}{_tags(tags)}</way>')
        return self.ways

    def square(self, x: float, y: float, side: float, **tags: str) -> int:
        corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        return self.way(corners, **tags)

    def relation(self, outer: int, inner: int, **tags: str) -> None:
        members = f'<member type="way" ref="{outer}" role="outer"/><member type="way" ref="{inner}" role="inner"/>'
        tags["type"] = "multipolygon"
        self.lines.append(f'<relation id="1" version="1">{members}{_tags(tags)}</relation>')

    def write(self, path: Path, bounds: tuple[float, float, float, float] | None = None) -> Path:
        """Write it; `bounds` are west, south, east, north in steps of the grid."""
        head = ""
        if bounds is not None:
            west, south, east, north = (v * STEP for v in bounds)
            head = (
                f'<bounds minlon="{LON + west:.7f}" minlat="{LAT + south:.7f}" '
                f'maxlon="{LON + east:.7f}" maxlat="{LAT + north:.7f}"/>\n'
            )
        nodes = "".join(
            f'<node id="{number}" version="1" lon="{LON + x * STEP:.7f}" lat="{LAT + y * STEP:.7f}">'
            f"{self.own.get(number, '')}</node>\n"
            for (x, y), number in self.nodes.items()
        )
        path.write_text(f'<osm version="0.6" generator="test">\n{head}{nodes}{"".join(self.lines)}</osm>\n')
        return path


def _tags(tags: dict[str, str]) -> str:
    return "".join(f'<tag k="{key.replace("__", ":")}" v="{value}"/>' for key, value in tags.items())
