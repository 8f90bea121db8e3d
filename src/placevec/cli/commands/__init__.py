"""The verbs, one module each; a module imports the work it does only when it is called."""

from __future__ import annotations

import importlib

import typer

# verb -> module, in the order in which `placevec --help` shows them
VERBS = {
    "demo": "demo",
    "data": "data",
    "area": "area",
    "import": "import_",
    "export": "export",
    "train": "train",
    "embed": "embed",
    "augment": "augment",
    "fuse": "fuse",
    "run": "run",
    "index": "index",
    "search": "search",
    "locate": "locate",
    "explain": "explain",
    "classify": "classify",
    "probe": "probe",
    "evaluate": "evaluate",
    "cluster": "cluster",
    "change": "change",
    "map": "map",
    "info": "info",
    "doctor": "doctor",
}


def register(app: typer.Typer) -> None:
    """Add every verb to `app`."""
    for verb, name in VERBS.items():
        module = importlib.import_module(f"placevec.cli.commands.{name}")
        group = getattr(module, "app", None)
        if group is not None:
            app.add_typer(group, name=verb)
        else:
            app.command(verb)(module.command)
