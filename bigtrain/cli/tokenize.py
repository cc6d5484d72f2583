"""`bigtrain data tokenize`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def run(
    files: Sequence[Path],
    output: Path,
    *,
    vocabulary: int,
    method: str,
    tokenizer: Path | None,
    encoding: str,
    as_json: bool,
) -> None:
    """Trains a tokenizer, or takes a given one, writes the tokens of the files, and says what to type next."""
    from bigtrain.data.tokenization import tokenize

    facts = tokenize(
        files, output, vocabulary=vocabulary, method=method, tokenizer=tokenizer, encoding=encoding
    )  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps({"output": str(output), **facts}) + "\n")
        return
    number = len(facts["files"])
    texts = "1 text" if number == 1 else f"{number:,} texts"
    lines = [
        f"{texts}, {facts['characters']:,} characters -> {facts['tokens']:,} tokens: {output}",
        f"a vocabulary of {facts['vocabulary']:,}; a token is {facts['characters'] / facts['tokens']:.2f} characters",
    ]
    if facts["unknown"]:
        lines.append(f"{facts['unknown']:,} of them are <unknown>: characters that the tokenizer doesn't know")
    sys.stdout.write("\n".join([*lines, f"next: bigtrain fit model=rnn data=text data.path={output}"]) + "\n")
