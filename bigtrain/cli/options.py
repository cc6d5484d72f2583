"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
ConfigDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--config-dir", metavar="DIR", help="Your own config groups, in front of the built-in ones."),
]
Trust = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--trust", metavar="PACKAGE", help="A package of yours that configs may build from; can be repeated."),
]
