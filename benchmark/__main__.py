"""Command line of the harness: `python -m benchmark show --help`."""

from __future__ import annotations

import sys

import tyro

from benchmark.show import Show, show


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    app = tyro.extras.SubcommandApp()

    @app.command(name="show")
    def _(options: tyro.conf.OmitArgPrefixes[Show]) -> int:
        return show(options)

    plain = (tyro.conf.FlagCreatePairsOff,)
    return app.cli(prog="python -m benchmark", args=arguments, config=plain)


if __name__ == "__main__":
    sys.exit(main())
