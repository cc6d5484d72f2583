from collections.abc import Iterator

import pytest

from bigtrain.plan import make, speeds
from bigtrain.plan.roofline import Speeds


@pytest.fixture(autouse=True)
def _speeds_of_a_made_up_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is measured in tests."""
    made_up = lambda target, precision, devices: Speeds(1e11, 1e10, 1e10, 1e9, "made up")  # noqa: E731
    for module in (make, speeds):
        monkeypatch.setattr(module, "speeds", made_up)
    from bigtrain.plan import estimate

    monkeypatch.setattr(estimate, "speeds", made_up)
    return
    yield
