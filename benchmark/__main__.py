"""The harness: runs the grid of all experiments and makes its tables, plots and page."""

from __future__ import annotations

import sys

import tyro

from benchmark.commands import (
    AdoptOptions,
    CellsOptions,
    PlotsOptions,
    ReportOptions,
    RunOptions,
    TablesOptions,
    adopt,
    list_cells,
    plots,
    report,
    run,
    tables,
)
from benchmark.figures.show import ShowOptions, show
from dexfw_envs.console.command import help_text, run_main


def _app() -> tyro.extras.SubcommandApp:
    app = tyro.extras.SubcommandApp()

    @app.command(name="cells")
    def _(options: tyro.conf.OmitArgPrefixes[CellsOptions]) -> int:
        """List the grid: what is done, what is not, what that would cost."""
        return list_cells(options)

    @app.command(name="run")
    def _(options: tyro.conf.OmitArgPrefixes[RunOptions]) -> int:
        """Run what is missing, go on with what was cut, skip what is done."""
        return run(options)

    @app.command(name="adopt")
    def _(options: tyro.conf.OmitArgPrefixes[AdoptOptions]) -> int:
        """Count a run that was started by hand as its cell."""
        return adopt(options)

    @app.command(name="tables")
    def _(options: tyro.conf.OmitArgPrefixes[TablesOptions]) -> int:
        """Write the tables."""
        return tables(options)

    @app.command(name="plots")
    def _(options: tyro.conf.OmitArgPrefixes[PlotsOptions]) -> int:
        """Write the plots."""
        return plots(options)

    @app.command(name="report")
    def _(options: tyro.conf.OmitArgPrefixes[ReportOptions]) -> int:
        """Write tables, plots and the page."""
        return report(options)

    @app.command(name="show")
    def _(options: tyro.conf.OmitArgPrefixes[ShowOptions]) -> int:
        """Print figures of what is stored."""
        return show(options)

    return app


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""

    def work(words: list[str]) -> int:
        plain = (tyro.conf.FlagCreatePairsOff,)
        about = help_text(__doc__ or "")
        return _app().cli(prog="python -m benchmark", args=words, config=plain, description=about)

    return run_main(work, arguments)


if __name__ == "__main__":
    sys.exit(main())
