"""The ``bionet`` command. Nothing imports this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

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


def refuse(message: str) -> NoReturn:
    """Exit with code 2: what was asked for does not exist."""
    typer.echo(f"bionet: {message}", err=True)
    raise typer.Exit(2)


def need_repository() -> None:
    """Exit with code 1 where there is no folder of records, as in a package installed alone."""
    from bionet_reproduction.paths import results_folder

    with clear_failure(FileNotFoundError):
        if not (folder := results_folder()).is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}: this needs the project's repository with its recorded runs"
            )


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
    """List the recorded runs: how each stands, what it needs, what it is about."""
    need_repository()
    from bionet_reproduction import catalogue

    states = {name: catalogue.state(name) for name in catalogue.RUNS}
    widths = [max(map(len, words)) for words in (states, states.values())]
    for name, entry in catalogue.RUNS.items():
        needs = f" (needs {', '.join(entry.needs)})" if entry.needs else ""
        typer.echo(f"{name:<{widths[0]}}  {states[name]:<{widths[1]}}  {entry.about}{needs}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def reproduce(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which run; see `bionet list`.")],
    plan: Annotated[
        str | None, typer.Option(help="Another plan of the run (quick, tiny), written to NAME-PLAN.json.")
    ] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Print the fields of the plan, and run nothing.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to compute on.")] = None,
) -> None:
    """Carry out one run on the real data and write results/NAME.json.

    Every field of its plan is an option (--fields prints them): with one of them changed, the record goes to
    NAME-changed.json. What is finished is kept in the folder runs (or $BIONET_RUNS): the same command goes on
    after a stop.
    """
    need_repository()
    from bionet_reproduction import catalogue, options, records, run
    from bionet_reproduction.sweeps import Sweep

    if name not in catalogue.RUNS:
        refuse(f"no run called {name!r}; there are {', '.join(catalogue.RUNS)}")
    entry, declared = catalogue.RUNS[name], catalogue.RUNS[name].run()
    if plan is not None and plan not in declared.others:
        refuse(f"the run {name!r} has no plan {plan!r}; there are {', '.join(declared.others)}")
    chosen = declared.plan if plan is None else declared.others[plan]
    try:
        given = options.pairs(context.args)
        chosen = options.changed(chosen, given)
    except ValueError as error:
        refuse(str(error))
    if fields:
        for option, value in options.flat(chosen).items():
            typer.echo(f"--{option} {value!r}")
        return
    failures = (data.DataUnavailable, data.DataCorrupt, FileNotFoundError, ValueError, ArithmeticError)
    try:
        with clear_failure(*failures):
            sweep = Sweep(jobs=jobs, dask=dask)
            record, _ = run.carry_out(name, declared, chosen, sweep, data=entry.data, needs=entry.needs)
    except KeyboardInterrupt as stopped:
        typer.echo(f"bionet: {stopped or 'stopped'}; run the same command again to go on", err=True)
        raise typer.Exit(130) from None
    ending = "-changed" if given else f"-{plan}" if plan else ""
    path = records.write(f"{name}{ending}", record)
    rows = declared.table(record)
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
