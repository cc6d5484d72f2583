"""How long a run took, and how fast it was."""

from __future__ import annotations

from typing import Any

from bigtrain.parallel import distributed
from bigtrain.parallel.peak import peak
from bigtrain.run.clock import Clock
from bigtrain.train.cache import cache_dir
from bigtrain.train.prepare import Prepared


def times(clock: Clock) -> dict[str, Any]:
    """The wall time of the command until now, and its parts."""
    spent = {name: round(seconds, 3) for name, seconds in clock.spent().items()}
    return {"seconds": round(sum(spent.values()), 3), "seconds_by_part": spent}


def speed(ready: Prepared, clock: Clock, steps: int) -> dict[str, Any] | None:
    """How fast `steps` steps were: operations counted in the traced program, and their share of the devices' peak.

    MFU as Chowdhery et al. 2022 define it, but with every operation of the step counted, the optimizer's too: what is
    computed again to save memory doesn't count.
    """
    spent = clock.spent()
    seconds = spent.get("step", 0.0) + spent.get("data wait", 0.0)
    if steps < 1 or seconds <= 0 or not distributed.current().leader:
        return None
    rate, run = ready.program.flops * steps / seconds, ready.run
    found: dict[str, Any] = {
        "steps_per_second": steps / seconds,
        "examples_per_second": steps * run.batch_size / seconds,
    }
    found |= {"flops_per_step": ready.program.flops, "flops_per_second": rate, "mfu": None}
    with clock.part("profile" if run.profile else "start"):
        devices, cache = ready.rules.mesh.devices.flat, cache_dir() / "peak.json"
        most = peak(devices, run.precision, cache, measure=run.profile, reached=rate)
    if most is not None:
        found |= {"mfu": rate / most.flops, "peak_flops": most.flops, "peak": most.source}
    return found
