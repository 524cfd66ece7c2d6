"""The command `demo`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from node.cli.session import UsageError, telling


def demo(
    report: Annotated[
        Path, Option("--report", metavar="FILE", help="Where to write the report (HTML).")
    ] = Path("demo/report.html"),
    plain: Annotated[bool, Option("--plain", help="Lines of text, no picture.")] = False,
) -> None:
    """Recover a photograph with four daemons.

    A real photograph seen through a simulated single-pixel camera, recovered from half the measurements with a
    matrix that no single one of the daemons could hold.
    """
    with telling(as_json=False):
        try:
            import PIL  # noqa: F401
            import sklearn  # noqa: F401
        except ModuleNotFoundError as error:
            raise UsageError(f"the demo needs {error.name}: pip install 'sedma[demo]'") from error
        from node.cli.demo.run import run

        code = run(report, plain)
    raise typer.Exit(code)
