"""The report of a photo list in Markdown."""

from __future__ import annotations

from placevec.sources.photos import PhotoReport
from placevec.tasks.evaluate_tables import aligned_table


def photos_markdown(report: PhotoReport, where: str) -> str:
    """The page of a report.

    Args:
        report: what was counted.
        where: what was read.
    """
    places = (
        f"{report.kept:,} photos of {report.places:,} places were kept, {report.skipped:,} of {report.photos:,} were "
        f"skipped. The largest place has {report.largest_place:,} photos, the widest is {report.widest_place_m:,.0f} m "
        "across; photos of one place stay on one side of a split."
    )
    parts = [f"# Photos of {where}", places]
    if report.first is not None and report.last is not None:
        parts.append(f"They were taken from {report.first} to {report.last}.")
    parts += ["## Where they are", _regions(report)]
    parts += ["## What is known of them", _known(report)]
    if report.skipped_because:
        rows = [[why, f"{count:,}"] for why, count in report.skipped_because.items()]
        parts += ["## What was skipped", aligned_table(["stage: reason", "photos"], rows)]
    if report.warnings:
        parts += ["## Notes", "\n".join(f"- {text}" for text in report.warnings)]
    return "\n\n".join(parts) + "\n"


def _regions(report: PhotoReport) -> str:
    rows = []
    for one in report.regions:
        area = "–" if one.area_km2 is None else f"{one.area_km2:,.0f}"
        density = "–" if one.per_1000_km2 is None else f"{one.per_1000_km2:,.2f}"
        rows.append([one.region, f"{one.photos:,}", f"{100 * one.share:.1f} %", f"{one.places:,}", area, density])
    return aligned_table(["region", "photos", "share", "places", "km²", "photos per 1,000 km²"], rows)


def _known(report: PhotoReport) -> str:
    rows = [[name, f"{100 * share:.1f} %"] for name, share in report.known.items()]
    return aligned_table(["column", "photos that have it"], rows)
