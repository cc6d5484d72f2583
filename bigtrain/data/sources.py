"""The sources that a user brings to a trained model of pairs: one a line, as tokens like those of the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bigtrain.config.errors import DataError
from bigtrain.data.lines import read_lines
from bigtrain.data.sequence_pairs import padded, spaced
from bigtrain.data.spec import Spec

SUFFIXES = (".txt", ".tsv", ".gz")


def read_sources(path: Path, spec: Spec) -> dict[str, np.ndarray]:
    """`inputs` [N, S] and `lengths` [N]: each line of a file; of a .tsv, the text before the first tab.

    Raises:
        DataError: for an empty line, a line that is longer than any the model was trained on, or an unknown symbol.
    """
    assert spec.vocabulary is not None
    assert spec.reader is not None
    steps, level = spec.inputs.shape[0], str(spec.reader.settings.get("level", "characters"))
    columns = path.name.lower().endswith((".tsv", ".tsv.gz"))
    lines = read_lines(path, hint="save it as UTF-8")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(path, "holds no sources", hint="one a line")
    rows = []
    for at, line in enumerate(lines, 1):
        where = f"{path}: line {at}"
        text = spaced(line.split("\t")[0] if columns else line, level)
        if not text:
            raise DataError(where, "is empty", hint="each line is a source, and gets a line of the output")
        row = spec.vocabulary.encode(text, where)
        if len(row) > steps:
            unit = level if level in ("characters", "words", "bytes") else "tokens"
            problem = f"has {len(row)} {unit}, and the model was trained on at most {steps}"
            raise DataError(where, problem, hint="shorten it, or train on longer sources")
        rows.append(row)
    table, lengths = padded(rows, 0, len(spec.vocabulary))
    inputs = np.zeros((len(rows), steps), spec.inputs.dtype)
    inputs[:, : table.shape[1]] = table
    return {"inputs": inputs, "lengths": lengths}
