"""The ``bionet`` command. Nothing imports this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from bionet import data

app = typer.Typer(
    help="Unsupervised learning by competing hidden units: an executable reproduction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Find, verify and fetch the data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help=f"Of {', '.join(data.NAMES)}; all of them by default."),
]


@contextmanager
def clear_failure(*expected: type[Exception]) -> Iterator[None]:
    """Turn an expected exception into its message on stderr and exit code 1."""
    try:
        yield
    except expected as error:
        typer.echo(f"bionet: {error}", err=True)
        raise typer.Exit(1) from error


@data_app.command("status")
def data_status(names: Names = None) -> None:
    """Say which data sets are here and whole. Exit code 1 if one is damaged."""
    damaged = False
    with clear_failure(data.DataUnavailable, ValueError):
        for name in names or data.NAMES:
            found = data.status(name)
            typer.echo(f"{found.name:<8} {found.state:<9} {found.where}")
            if found.detail:
                typer.echo(f"  {found.detail}", err=found.state == "damaged")
            damaged |= found.state == "damaged"
    if damaged:
        raise typer.Exit(1)


@data_app.command("fetch")
def data_fetch(names: Names = None) -> None:
    """Download what is missing or damaged; intact files are kept."""
    with clear_failure(data.DataUnavailable, ValueError):
        for name in names or data.NAMES:
            fetched = data.fetch(name)
            for path in fetched:
                typer.echo(f"{name:<8} fetched   {path}")
            if not fetched:
                typer.echo(f"{name:<8} complete")
