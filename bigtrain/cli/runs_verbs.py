"""The verbs of `bigtrain runs` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from bigtrain.cli.options import Json


class DirectoryOrVerb(TyperGroup):
    """`bigtrain runs DIR` is `bigtrain runs list DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `list` in front of what is no verb, and is not spelled like one."""
        first = args[0] if args else ""
        if first not in self.commands and first not in ("-h", "--help") and not self._misspelled(first):
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def _misspelled(self, first: str) -> bool:
        from bigtrain.config.errors import nearest

        return bool(first) and not Path(first).exists() and bool(nearest(first, self.commands))


runs = typer.Typer(
    help="Look at runs side by side: list, compare, best. bigtrain runs DIR lists those of a folder.",
    cls=DirectoryOrVerb,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of runs, or of folders of runs: a sweep.")]


@runs.command("list")
def list_(
    directory: Directory = Path("runs"),
    sort: Annotated[
        Optional[str],  # noqa: UP045  Typer reads this at run time
        typer.Option("--sort", metavar="METRIC", help="The best first by this metric; or: changed, the newest first."),
    ] = None,
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--metric", metavar="METRIC", help="A score to show: validation/loss; can be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs of a folder: state, the keys in which they differ, scores."""
    from bigtrain.cli.runs import list_runs

    list_runs(directory, sort=sort, metrics=metric or [], as_json=json)


@runs.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN…|DIR", help="Runs, or a folder that holds them.")],
    json: Json = False,
) -> None:
    """Show in which keys and scores runs differ, side by side."""
    from bigtrain.cli.runs_compare import compare_runs

    compare_runs(paths, as_json=json)


@runs.command()
def best(
    directory: Directory = Path("runs"),
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--metric", metavar="METRIC", help="What decides: test/accuracy; the runs' checkpoint.monitor."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="auto|min|max", help="Which way is better; auto knows by the name.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Name the best run of a folder, its score, and the command that repeats it."""
    from bigtrain.cli.runs import best_run

    best_run(directory, metric=metric, mode=mode, as_json=json)
