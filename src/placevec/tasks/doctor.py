"""`doctor`: what is installed, what is not, what is broken, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

# extra -> what it is for
PURPOSES = {
    "": "the core",
    "torch": "training and learned encoders",
    "raster": "reading rasters and cutting chips",
    "lance": "large tables as Lance datasets",
    "faiss": "indexes of large tables",
    "osm": "reading OpenStreetMap",
    "plot": "maps and figures",
    "geopandas": "other vector formats (GeoPackage, FlatGeobuf)",
}
_IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "pylance": "lance",
    "lightning-fabric": "lightning_fabric",
    "faiss-cpu": "faiss",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: a package, its state, and what to do."""

    what: str
    extra: str
    state: str  # ok | absent | broken | old
    version: str = ""
    advice: str = ""

    def to_record(self) -> dict[str, str]:
        """A JSON object."""
        return vars(self).copy()


def doctor(*, deep: bool = True) -> list[Finding]:
    """Look at every package that placevec can use, at the Python and at the data folder.

    `deep` imports each optional package in a process of its own, which finds what is installed but broken.
    """
    found = [_python()]
    for extra, package, wanted in _requirements():
        found.append(_package(extra, package, wanted, deep))
    found.append(_torchvision(deep))
    found.append(_data())
    return found


def _python() -> Finding:
    text = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Finding("python", "", "ok" if ok else "old", text, "" if ok else "placevec needs Python 3.11 or newer")


def _requirements() -> list[tuple[str, str, str]]:
    """(extra, package, least version) of everything that the wheel's metadata names."""
    found = []
    for line in requires("placevec") or []:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?", line)
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        name = extra.group(1) if extra else ""
        if match is None or name == "all" or match.group(1) == "placevec":
            continue
        found.append((name, match.group(1), match.group(2) or "0"))
    return found


def _package(extra: str, package: str, wanted: str, deep: bool) -> Finding:
    try:
        have = version(package)
    except PackageNotFoundError:
        target = f"placevec[{extra}]" if extra else "placevec"
        advice = f"pip install '{target}' ({PURPOSES.get(extra, extra)})"
        return Finding(package, extra, "absent", "", advice)
    if _numbers(have) < _numbers(wanted):
        return Finding(package, extra, "old", have, f"placevec needs {package} {wanted} or newer")
    trouble = _import_trouble(_IMPORT_NAMES.get(package, package.replace("-", "_"))) if deep and extra else ""
    if trouble:
        return Finding(package, extra, "broken", have, f"it does not import: {trouble}")
    return Finding(package, extra, "ok", have)


def _torchvision(deep: bool) -> Finding:
    """Torchvision is not needed, and a broken one does harm: transformers imports it wherever it is installed."""
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "", "ok", "", "not installed, and not needed")
    have = version("torchvision")
    trouble = _import_trouble("torchvision") if deep else ""
    if not trouble:
        return Finding("torchvision", "", "ok", have, "not needed")
    advice = (
        "it does not fit the installed torch, and makes transformers fail when it loads image processors: "
        f"pip uninstall torchvision ({trouble})"
    )
    return Finding("torchvision", "", "broken", have, advice)


def _data() -> Finding:
    folder = os.environ.get("PLACEVEC_DATA", "")
    if not folder:
        return Finding("PLACEVEC_DATA", "", "absent", "", "no folder of real data: `placevec demo` generates a country")
    if not Path(folder).is_dir():
        return Finding("PLACEVEC_DATA", "", "broken", folder, "the folder does not exist: mend or unset the variable")
    return Finding("PLACEVEC_DATA", "", "ok", folder, "`placevec data verify` checks its files")


def _import_trouble(module: str) -> str:
    # In a process of its own: a broken extension module can take the interpreter down with it.
    code = f"import importlib; importlib.import_module({module!r})"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "importing it takes longer than two minutes"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {done.returncode}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])
