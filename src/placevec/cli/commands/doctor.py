"""`placevec doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from placevec.cli.commands.options import Format


def command(
    quick: Annotated[bool, typer.Option("--quick", help="Do not import the optional packages.")] = False,
    form: Format = None,
) -> None:
    """Say what is installed, what is not, what is broken, and what to do about it.

    Exit code 1 if something that is installed does not work.

    Example: placevec doctor
    """
    from placevec.cli.output import emit
    from placevec.tasks.doctor import doctor

    findings = doctor(deep=not quick)
    emit([finding.to_record() for finding in findings], form, title="placevec doctor")
    if any(finding.state in ("broken", "old") for finding in findings):
        raise typer.Exit(1)
