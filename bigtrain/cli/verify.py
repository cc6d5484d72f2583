"""`bigtrain verify`: trains a part of a run again and compares the hash of the state with the recorded one.

A run of several processes is verified by as many: a sum over four processes adds up in another order than one over four
devices of a process, which shows in the last bit. All train; process 0 writes the receipt and prints it.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.config.check import Checked, check
from bigtrain.config.errors import ConfigError, InputError
from bigtrain.config.schema import DistributedConfig
from bigtrain.config.trust import Trust
from bigtrain.inference.stored import check_expanded
from bigtrain.parallel import cluster, distributed
from bigtrain.parallel.alike import check_alike
from bigtrain.run.directory import ADOPTED, RunDirectory, differences

if TYPE_CHECKING:
    from bigtrain.checkpoint import Checkpoints
    from bigtrain.train.prepare import Prepared
    from bigtrain.train.replay import Segment


def run(path: Path, *, checkpoint: str | None, steps: int | None, as_json: bool, trust: Sequence[str]) -> int:
    """Replays, prints and writes the receipt; 0 where the states are equal, 1 where they aren't."""
    directory, trusted = RunDirectory.find(path), Trust.of(trust)
    saved = directory.saved()
    if not saved:
        raise InputError(f"{path} has no checkpoint yet\n  train it first: bigtrain fit run_dir={path}")

    from bigtrain.checkpoint import Checkpoints
    from bigtrain.cli.fit import loaded
    from bigtrain.train.prepare import prepare
    from bigtrain.train.replay import segment

    part = segment(saved, _step(checkpoint, saved), steps)
    checkpoints = Checkpoints(directory.checkpoints)
    meta = checkpoints.meta(part.end if part.recorded else part.begin or saved[0])
    made = _made(meta, checkpoints, part)
    _check_replayable(path, directory, made, part)
    peers = _joined(made["processes"], path, saved)
    check_alike(peers, directory.config())
    checked = trained_with(directory, trusted, made["steps"])
    if part.end > made["steps"]:
        most = made["steps"] - part.begin
        raise ConfigError("--steps", f"the run ends at step {made['steps']}", allowed=f"at most {most}")
    ready = prepare(checked, trusted, loaded(checked, trusted))
    try:
        found = receipt(ready, directory, checkpoints, part, meta)
    finally:
        checkpoints.close()
    directory.write("receipt.json", json.dumps(found, indent=1))
    if peers.leader:
        shown = "".join(f"{name:<11} {value}\n" for name, value in lines(found))
        sys.stdout.write(json.dumps(found) + "\n" if as_json else shown)
    peers.barrier("verified")  # they end alike, and at the same time: a difference is no failure of one of them
    return 0 if found["equal"] else 1


def _joined(processes: int, path: Path, saved: Sequence[int]) -> distributed.Alone | distributed.Peers:
    """This process among the others, where the run had several; refused where they are not as many as it had."""
    found = cluster.coordinates(DistributedConfig(), os.environ) if processes > 1 else cluster.launched(os.environ)
    count = 1 if found is None else found.count
    if count != processes:
        again = f"bigtrain verify {shlex.quote(str(path))}"
        hint = f"bigtrain launch -n {processes} {again.removeprefix('bigtrain ')}, or start it as the run was started"
        trained = f"the run was trained in {_processes(processes)}, and verify was started in {count}"
        raise InputError(f"{path}: {trained}\n  {hint if processes > 1 else again}")
    if processes == 1:
        return distributed.current()
    peers = distributed.start(DistributedConfig())
    peers.remember(lambda: f"checkpoints up to step {saved[-1]:,} are complete; type the same command again")
    return peers


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _check_replayable(path: Path, directory: RunDirectory, made: Mapping[str, Any], part: Segment) -> None:
    """Refuses the runs of a sweep whose bits a run by itself can't have."""
    members = made.get("members")
    if isinstance(members, int) and members > 1:
        problem = f"was trained by a program of {members} runs at once, which rounds otherwise than that of one run"
        raise InputError(
            f"{path}: {problem}\n  its scores can be looked at: bigtrain evaluate {shlex.quote(str(path))}"
        )
    adopted = directory.read(ADOPTED)
    begun = adopted.get("step") if isinstance(adopted, dict) else None
    if isinstance(begun, int) and part.begin < begun:
        problem = f"began at step {begun:,} with the state of {adopted.get('run')}, which isn't kept here"
        raise InputError(f"{path}: {problem}\n  keep more of such runs: checkpoint.keep=2")


def _step(wanted: str | None, saved: Sequence[int]) -> int | None:
    """Where the replay begins, as it was typed."""
    if wanted is None:
        return None
    if wanted.isdecimal():
        return int(wanted)
    raise ConfigError("--checkpoint", f"{wanted!r} is no step", allowed=map(str, [0, *saved]))


def _made(meta: Mapping[str, Any], checkpoints: Checkpoints, part: Segment) -> dict[str, Any]:
    """What the checkpoint says of where its state comes from."""
    made = meta.get("made")
    if not made:
        where = checkpoints.path(part.end)
        raise InputError(f"{where}: does not say where its state comes from: it was not saved by bigtrain fit")
    return dict(made)


def trained_with(directory: RunDirectory, trusted: Trust, steps: int) -> Checked:
    """The run's config as it was trained for `steps` steps; what only watches a run is left out."""
    values = {**directory.config(), "loggers": {}, "plugins": [], "steps": steps, "stop_at": None, "profile": False}
    values["distributed"] = {}
    values = {name: value for name, value in values.items() if name not in ("profile_from", "profile_steps")}
    if isinstance(values.get("data"), dict):  # where to fetch from is said at the keyboard, or built in
        values["data"] = {name: value for name, value in values["data"].items() if name != "url"}
    check_expanded(values)
    return check(values, trusted)


def receipt(
    ready: Prepared, directory: RunDirectory, checkpoints: Checkpoints, part: Segment, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """What was replayed, what came out, and on what; of a step without a checkpoint, two replays are compared."""
    from bigtrain.checkpoint import leaves
    from bigtrain.data.fingerprint import fingerprint
    from bigtrain.run import environment
    from bigtrain.train.provenance import provenance
    from bigtrain.train.replay import replay
    from bigtrain.train.resume import check_data

    data = distributed.current().shared("data", lambda: fingerprint(ready.dataset))
    check_data(checkpoints, meta["step"], dict(meta), data, _say)
    back = meta.get("rollbacks") or []
    replayed = leaves.describe_together(replay(ready, checkpoints, part, back).as_dict())
    recorded = meta["state"]["leaves"]
    if not part.recorded:
        recorded = leaves.describe_together(replay(ready, checkpoints, part, back, turn=1).as_dict())
    now = provenance(ready, directory.config(), environment.describe(), data)
    return {
        "run_dir": str(directory.path),
        "from": part.begin,
        "to": part.end,
        "compared_with": "checkpoint" if part.recorded else "a second replay",
        "equal": replayed == recorded,
        "first_difference": leaves.first_difference(recorded, replayed),
        "recorded": leaves.state_hash(recorded),
        "replayed": leaves.state_hash(replayed),
        "made": meta["made"],
        "now": now,
        "changed": [f"{path}: {before} there, {here} here" for path, before, here in differences(meta["made"], now)],
    }


def _say(text: str, style: str = "") -> None:
    if distributed.current().leader:
        print(text, file=sys.stderr)


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The receipt for a reader."""
    now, what = found["now"], "the recorded state" if found["compared_with"] == "checkpoint" else "a second replay"
    verdict = f"steps {found['from']:,} to {found['to']:,} give {what}, bit for bit"
    if not found["equal"]:
        verdict = f"steps {found['from']:,} to {found['to']:,} do not give {what}: {found['first_difference']} differs"
    code, splits = now["code"], {name: entry for name, entry in now["data"].items() if isinstance(entry, dict)}
    return [
        ("equal" if found["equal"] else "differs", verdict),
        ("state", found["replayed"] if found["equal"] else f"{found['replayed']} instead of {found['recorded']}"),
        ("config", now["config"]),
        ("code", f"bigtrain {code['bigtrain']}, commit {code['commit'] or 'unknown'}, sources {code['sources']}"),
        *(("data", f"{name}: {entry['examples']:,} examples {entry['content']}") for name, entry in splits.items()),
        ("versions", ", ".join(f"{name} {version}" for name, version in now["versions"].items())),
        ("mesh", ", ".join(f"{name} {size}" for name, size in now["mesh"].items()) or "one device"),
        ("devices", f"{len(now['devices'])} of {now['devices'][0]}"),
        *(("changed", text) for text in found["changed"]),
        ("receipt", f"{found['run_dir']}/receipt.json"),
    ]
