"""bigtrain's portion of Hydra's plugin namespace: Hydra takes plugins of `hydra_plugins` alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def plugins() -> tuple[ModuleType, ModuleType]:
    """The modules with the sweeper and with the launchers, under the names that Hydra accepts."""
    here = str(Path(__file__).parent)
    if here not in sys.path:
        sys.path.append(here)  # last; a namespace package is made of all its portions
    from hydra_plugins.bigtrain_sweep import launchers, sweeper

    return sweeper, launchers
