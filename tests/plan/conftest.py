import pytest

from bigtrain.plan import estimate, host, make
from bigtrain.plan.roofline import Speeds


@pytest.fixture(autouse=True, scope="session")
def _speeds_of_a_made_up_machine():
    """Nothing is measured in tests: neither speed, nor the memory of the process that runs them."""
    made_up = Speeds(1e11, 1e10, 1e10, 1e9, "made up")
    with pytest.MonkeyPatch.context() as patch:
        for module in (estimate, make):
            patch.setattr(module, "speeds", lambda target, precision, devices: made_up)
        patch.setattr(host, "baseline", lambda: 500 << 20)
        patch.setattr(host, "compiling", lambda: 500 << 20)
        yield
