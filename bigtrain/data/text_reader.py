"""Texts that a user brings to a trained classifier: the lines of a text file, or a column of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.labelled_texts import LINES, TEXTS, Wanted, json_lines, table
from bigtrain.data.lines import AS_UTF8, read_lines
from bigtrain.data.spec import Spec
from bigtrain.data.text_encoding import encoding_of

SUFFIXES = (".txt", ".csv", ".tsv", ".tab", *LINES)


def is_classifier(spec: Spec) -> bool:
    """Whether the model was trained on texts with a class each."""
    return (
        spec.reader is not None and spec.reader.kind == "text" and spec.reader.settings.get("form") == "classification"
        and spec.vocabulary is not None
    )  # fmt: skip


def read_texts(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """`inputs` [N, T] and `lengths` [N] of the texts of a file: one a line of a .txt, one a row of a table.

    Of a table with several columns, the one is taken that is called as it was in training, or by a usual name; of one
    without names, the first.

    Raises:
        DataError: for a file that can't be read, an empty text, or settings that no run directory of ours has.
    """
    assert spec.reader is not None
    assert spec.vocabulary is not None
    settings = spec.reader.settings
    try:
        encode, encoding, column = encoding_of(settings, spec.vocabulary), str(settings["encoding"]), settings["column"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("spec.json", "does not say how texts are read") from error
    try:
        texts = _texts(path, Wanted(encoding=encoding, hint=AS_UTF8.format(encoding=encoding)), column)
    except ConfigError as error:  # an encoding that doesn't exist, in a stranger's run directory
        raise DataError("spec.json", error.problem) from error
    for number, text in texts:
        if not text.strip():
            hint = "every line is a text, and gets a line of the output"
            raise DataError(path, f"line {number} has no text", hint=hint)
    if not texts:
        raise DataError(path, "holds no texts")
    inputs, lengths, _ = encode([text for _, text in texts], path)
    if inputs.shape[1:] != spec.inputs.shape:
        raise DataError("spec.json", "does not say how texts are read")
    return {"inputs": inputs.astype(spec.inputs.dtype), "lengths": lengths}


def _texts(path: Path, wanted: Wanted, column: Any) -> list[tuple[int, str]]:
    """The texts with their line numbers."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return list(enumerate(read_lines(path, wanted.encoding, hint=wanted.hint), 1))
    names, rows = json_lines(path, wanted) if suffix in LINES else table(path, wanted, narrow=True)
    at = _column(path, names, len(rows[0][1]) if rows else 1, column)
    return [(number, row[at]) for number, row in rows]


def _column(path: Path, names: list[str] | None, width: int, trained: Any) -> int:
    if names is None or width == 1:
        return 0
    lower = [name.lower() for name in names]
    for name in (str(trained).lower(), *TEXTS):
        if name in lower:
            return lower.index(name)
    problem = f"none of its columns is called {trained or 'text'}: {', '.join(names)}"
    raise DataError(path, problem, hint="name the column of the texts so")
