"""The verbs of `bigtrain data` and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from bigtrain.cli.options import ConfigDir, Json, Trust

data = typer.Typer(
    help="Look at a data set, or prepare one.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@data.callback()
def data_group(context: typer.Context) -> None:
    """Prints the help where no verb was typed."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@data.command()
def inspect(
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="NAME", help="A data set: digits, text, npz, …; see: bigtrain configs data"),
    ] = None,
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="KEY=VALUE", help="Its fields: data.path=my.npz"),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", metavar="PNG", help="Where to draw examples; inspect-NAME.png if not given."),
    ] = None,
    json: Json = False,
    config_dir: ConfigDir = None,
    trust: Trust = None,
) -> None:
    """Show what a data set holds: fields, splits, classes, examples, and leakage between splits."""
    from bigtrain.cli.inspect import run

    given = [*([name] if name else []), *(overrides or [])]
    run(given, output, as_json=json, config_dir=config_dir, trust=trust or [])


@data.command()
def tokenize(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Text files, plain or .gz.")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="The folder to write tokens to.")],
    vocabulary: Annotated[int, typer.Option("--vocabulary", min=2, help="Tokens to learn.")] = 8000,
    method: Annotated[
        str, typer.Option("--method", metavar="METHOD", help="bytes-bpe, bpe, unigram or wordpiece.")
    ] = "bytes-bpe",
    tokenizer: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--tokenizer", metavar="FILE", help="A tokenizer.json to use instead of learning one."),
    ] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="How the files are encoded.")] = "utf-8",
    json: Json = False,
) -> None:
    """Turn text files into tokens on disk, with a vocabulary learnt from them, for training on large text."""
    from bigtrain.cli.tokenize import run

    run(files, output, vocabulary=vocabulary, method=method, tokenizer=tokenizer, encoding=encoding, as_json=json)
