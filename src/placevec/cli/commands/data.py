"""`placevec data`."""

from __future__ import annotations

from typing import Annotated

import typer

from placevec.cli.commands import data_crawl
from placevec.cli.commands.data_photos import command as photos
from placevec.cli.commands.options import Format

app = typer.Typer(no_args_is_help=True, help="Named public datasets: list, fetch, verify.")
app.add_typer(data_crawl.app, name="crawl")
app.command("photos")(photos)
Name = Annotated[str | None, typer.Argument(help="The dataset; all by default.", show_default=False)]


@app.command("list")
def list_(form: Format = None) -> None:
    """List the datasets, with licence and whether they are on this machine.

    Example: placevec data list
    """
    from placevec.cli.output import emit
    from placevec.sources.catalog import is_here, list_datasets

    emit(
        [
            {
                "name": one.name,
                "here": is_here(one.name),
                "licence": one.licence,
                "what": one.about,
                "attribution": one.attribution,
            }
            for one in list_datasets()
        ],
        form,
    )


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="The dataset.", show_default=False)],
    form: Format = None,
) -> None:
    """Find a dataset on this machine, or download it to the user's cache; every file is checked by its hash.

    Example: placevec data fetch blue-marble
    """
    from placevec.cli.output import emit
    from placevec.sources.catalog import fetch as fetch_dataset

    files = fetch_dataset(name, allow_network=True)
    emit([{"file": file, "path": str(path)} for file, path in files.items()], form)


@app.command("verify")
def verify(name: Name = None, form: Format = None) -> None:
    """Check the files of a dataset, or of all, against their hashes. Exit code 1 if one is damaged.

    Example: placevec data verify blue-marble
    """
    from placevec.cli.output import emit
    from placevec.sources.catalog import verify as verify_files

    report = verify_files(name)
    emit([{"file": file, "state": state} for file, state in report], form)
    if any(state == "damaged" or (name is not None and state != "ok") for _, state in report):
        raise typer.Exit(1)
