"""A file that isn't encoded as it was read says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import typed

from bigtrain.data.lines import ENCODING, encoding_hint


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "it begins as UTF-16 does: data.encoding=utf-16"),
        (b"PAR1\xff\xfe\x00", "it is a Parquet file, which data=parquet reads"),
        ("a,b\ncafé,2\n".encode("latin-1"), ENCODING),
    ],
)
def test_what_to_do_about_it(content: bytes, hint: str, workdir: Path) -> None:
    (workdir / "t.csv").write_bytes(content)
    assert encoding_hint(workdir / "t.csv") == hint
    done = typed("fit data=csv data.path=t.csv data.target=b steps=2")
    assert (done.code, done.err.splitlines()[1]) == (2, f"  {hint}"), done.err
