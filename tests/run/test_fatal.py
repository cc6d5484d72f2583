"""What a run can do without costs it no more than that."""

from __future__ import annotations

import errno

import pytest

from bigtrain.run.fatal import not_fatal


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
        (OSError(), "OSError"),
    ],
)
@pytest.mark.parametrize("whatever", [False, True])
def test_a_disk_that_fails_is_told(error: OSError, told: str, whatever: bool) -> None:
    said: list[str] = []
    with not_fatal("a.png", lambda text, style: said.append(text), whatever=whatever):
        raise error
    assert said == [f"a.png could not be written: {told}"]


@pytest.mark.parametrize(("text", "told"), [("one\ntwo", "one"), (" \n", "ValueError"), ("", "ValueError")])
def test_any_other_error_only_where_that_is_meant(text: str, told: str) -> None:
    said: list[str] = []
    with not_fatal("a.png", lambda text, style: said.append(text), whatever=True):
        raise ValueError(text)
    assert said == [f"a.png could not be written: {told}"]
    with pytest.raises(ValueError, match="one"), not_fatal("a.png", print):
        raise ValueError("one")
