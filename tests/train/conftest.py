"""What the tests of this folder share."""

from collections.abc import Iterator

import pytest
from tiny import quick_compiling


@pytest.fixture(scope="module", autouse=True)
def _quick_compiling() -> Iterator[None]:
    with quick_compiling():
        yield
