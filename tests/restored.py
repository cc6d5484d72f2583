"""A program: restores the newest checkpoint of several runs onto its own mesh, and prints a hash of each whole state.

    python tests/restored.py RUN,RUN,… OVERRIDE…

In several processes, as `bigtrain launch` starts them, each restores its part; what is hashed is all parts together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bigtrain.checkpoint import Checkpoints
from bigtrain.cli.fit import understood
from bigtrain.data.load import load_data
from bigtrain.parallel import distributed


def main(runs: list[str], overrides: list[str]) -> None:
    _, checked, trusted = understood(overrides, None, [])
    peers = distributed.start(checked.run.distributed)
    from jax.experimental import multihost_utils
    from support import state_hash

    from bigtrain.train.prepare import prepare

    ready = prepare(checked, trusted, load_data(checked, trusted))
    peers.barrier("compiled")
    found = []
    for run in runs:
        checkpoints = Checkpoints(Path(run) / "checkpoints")
        fields = checkpoints.restore(checkpoints.steps()[-1], ready.program.abstract.as_dict())
        whole = multihost_utils.process_allgather(fields, tiled=True) if peers.count > 1 else fields
        found.append(state_hash(whole))
        checkpoints.close()
    print(json.dumps({"process": peers.index, "hashes": found}), flush=True)
    distributed.leave(0)


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2:])
