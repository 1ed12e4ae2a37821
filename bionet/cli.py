"""The ``bionet`` command. Nothing imports this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bionet import data
from bionet._runs import RUNS
from bionet.ledger import results_folder

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


def need_repository() -> None:
    """Exit with code 1 where there is no folder of records, as in a package installed alone."""
    if not results_folder().is_dir():
        typer.echo(
            "bionet: this needs the project's repository, which holds the recorded runs: install the package "
            "from a checkout with pip install -e . (or set BIONET_RESULTS to a folder of records)",
            err=True,
        )
        raise typer.Exit(1)


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


@app.command("list")
def list_runs() -> None:
    """List the recorded runs and whether each has been recorded."""
    need_repository()
    width = max(map(len, RUNS))
    for name, run in RUNS.items():
        state = "recorded" if (results_folder() / f"{name}.json").is_file() else "missing"
        typer.echo(f"{name:<{width}} {state:<8} {run.text}")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="Which run; see `bionet list`.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of the whole pipeline.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a sweep's rows (grid).")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes on this machine.")] = None,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to compute on.")] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick", help="A shorter form, written to NAME-quick.json.")
    ] = None,
) -> None:
    """Run one experiment on the real data and write results/NAME.json.

    What is finished is kept in the folder runs (or $BIONET_RUNS): the same command goes on after a stop.
    """
    from inspect import signature

    if name not in RUNS:
        typer.echo(f"bionet: no run called {name!r}; there are {', '.join(RUNS)}", err=True)
        raise typer.Exit(2)
    need_repository()
    from bionet import experiments

    make = RUNS[name].make()
    asked = {"seeds": seeds, "epochs": epochs, "jobs": jobs, "dask": dask, "quick": quick}
    given = {option: value for option, value in asked.items() if value is not None}
    strange = given.keys() - signature(make).parameters.keys()
    if strange:
        typer.echo(f"bionet: the run {name!r} has no option --{min(strange)}", err=True)
        raise typer.Exit(2)
    failures = (data.DataUnavailable, data.DataCorrupt, FileNotFoundError, ValueError, ArithmeticError)
    try:
        with clear_failure(*failures):
            record = make(**given)
    except KeyboardInterrupt as stopped:
        typer.echo(f"bionet: {stopped or 'stopped'}; run the same command again to go on", err=True)
        raise typer.Exit(130) from None
    path = experiments.write(f"{name}-quick" if quick else name, record)
    rows = experiments.compare(record)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(f"written to {path}")


@app.command()
def demo(
    picture: Annotated[Path, typer.Option(help="Where to save the feature maps.")] = Path("bionet-demo.png"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the whole run.")] = 0,
) -> None:
    """Learn from the embedded digits: print the test accuracy, save a picture of the features."""
    import matplotlib as mpl

    from bionet import plot
    from bionet.readout import PowerReadout
    from bionet.units import RankedUnits

    mpl.use("Agg")
    train, test = data.load("digits"), data.load("digits", split="test")
    typer.echo(
        f"learning from {len(train)} digits: seconds, or a minute where Numba compiles for the first time",
        err=True,
    )
    net = PowerReadout(
        RankedUnits(100, k=2, delta=0.2, n_epochs=40, batch_size=50, init="uniform", random_state=seed),
        n=3.0,
        loss="cross_entropy",
        learning_rate=5e-3,
        n_epochs=100,
        random_state=seed,
    ).fit(train.images, train.labels)
    plot.style()
    ax = plot.feature_maps(net.components_, train.shape, title="What 100 units learned from 1437 digits")
    ax.figure.savefig(picture, dpi=150)
    typer.echo(
        f"test accuracy {100 * net.score(test.images, test.labels):.1f} % on {len(test.labels)} digits"
    )
    typer.echo(f"feature maps saved to {picture}")


if __name__ == "__main__":
    app()
