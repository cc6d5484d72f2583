"""What the verbs print: the summary before a run, the result after it."""

from __future__ import annotations

import json
import math
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigtrain.parallel import distributed

if TYPE_CHECKING:
    from bigtrain.config.check import Checked
    from bigtrain.config.schema import RunConfig
    from bigtrain.train.prepare import Lengths, Prepared


def summary(ready: Prepared, checked: Checked, path: Path) -> list[tuple[str, str]]:
    """The derived numbers of a run and the reason for each automatic choice."""
    run, spec, lengths = ready.run, ready.dataset.spec, ready.lengths
    sizes = ", ".join(f"{len(source):,} {split}" for split, source in ready.dataset.splits.items())
    inputs = f"{'x'.join(map(str, spec.inputs.shape))} {spec.inputs.dtype}"
    passes = f"{_short(lengths.steps / lengths.steps_per_epoch)} epochs of {_short(lengths.steps_per_epoch)}"
    rows = [
        ("model", _model(ready, checked)),
        ("data", f"{spec.name}: {sizes}; inputs {inputs}"),
        ("placement", f"{type(ready.placement).__name__.lower()} ({ready.placement_reason})"),
        ("task", _task(ready, checked)),
        ("optimizer", _optimizer(ready, checked)),
        ("steps", f"{lengths.steps:,} of {run.batch_size} examples ({passes} steps)"),
        ("every", _every(lengths)),
        ("devices", _devices(ready)),
        ("precision", "f32" if run.precision == "f32" else "bf16 in the model, f32 for parameters and losses"),
        ("dispatch", _dispatch(ready)),
        ("compiled", _compiled(ready)),
        ("run", str(path)),
    ]
    peers = distributed.current()
    if isinstance(peers, distributed.Peers):
        rows.insert(8, ("processes", f"{peers.count} ({peers.source})"))
    if (sharding := _sharding(ready)) is not None:
        rows.insert(8, ("sharding", sharding))
    if (pieces := ready.program.definition.accumulate) > 1:
        rows.insert(6, ("batch", _pieces(run, pieces)))
    if checked.augment:
        rows.insert(3, ("augment", f"{', then '.join(checked.augment)} (training batches only)"))
    rows += [(name, text) for name, text in spec.notes.items()]
    return rows


def _pieces(run: RunConfig, number: int) -> str:
    why = " (auto: a CPU is faster with less at once)" if run.accumulate == "auto" else ""
    return f"in {number} microbatches of {run.batch_size // number} examples{why}"


def dry_run(ready: Prepared, *, as_json: bool) -> None:
    """The result of `--dry-run`."""
    if as_json:
        from bigtrain.train.sharding import bytes_on_a_device

        facts = {
            "parameters": parameters(ready),
            "state_bytes": state_bytes(ready),
            "steps": ready.lengths.steps,
            "steps_per_epoch": ready.lengths.steps_per_epoch,
            "devices": ready.rules.mesh.size,
            "mesh": dict(ready.rules.mesh.shape),
            "state_bytes_per_device": bytes_on_a_device(ready.program.abstract),
            "steps_per_dispatch": ready.placement.capacity,
            "accumulate": ready.program.definition.accumulate,
            "compile_seconds": round(ready.compile_seconds, 3),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write("dry run: the program compiles; nothing was trained and nothing was written\n")


def result(found: Mapping[str, Any], *, as_json: bool, again: str = "") -> None:
    """The result of a run, on stdout; `again` are the options that the next command has to repeat."""
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    if found.get("rests"):
        rests(found, again)
        return
    lines = [(split, scores(found[split])) for split in ("validation", "test") if found.get(split)]
    if found.get("best"):
        best = dict(found["best"])
        lines.append(("best", f"step {best.pop('step'):,} (validation {scores(best)})"))
    if stopped := found.get("stopped_early"):
        waited = f"{stopped['evaluations']} evaluation{'s' * (stopped['evaluations'] > 1)} without a better score"
        lines.append(("stopped", f"early, at step {stopped['step']:,} of {stopped['of']:,}: {waited}"))
    where = Path(found["run_dir"])
    names = ("checkpoints/", "metrics.jsonl", "curves.png", "samples/", "answers/")
    kept = [name for name in names if (where / name).exists()]
    lines.append(("time", spent(found)))
    if found.get("speed"):
        lines.append(("speed", _speed(found["speed"])))
    lines += _trace(found)
    lines.append(("files", f"{where}: {' '.join(kept)}"))
    quoted = shlex.quote(str(where))
    trust = "".join(f" --trust {name}" for name in again.split(" --trust ")[1:])
    best = " --checkpoint best" if stopped and found.get("best") else ""
    lines.append(("next", f"bigtrain {'sample' if 'samples/' in kept else 'evaluate'} {quoted}{best}{trust}"))
    _print(lines)


def rests(found: Mapping[str, Any], again: str = "") -> None:
    """What a run says that rests before its last step."""
    at, where = found["rests"], shlex.quote(found["run_dir"])
    lines = [("validation", scores(found["validation"]))] if found.get("validation") else []
    lines += [("time", spent(found)), *_trace(found)]
    lines.append(("rests", f"at step {at['step']:,} of {at['of']:,} (stop_at); everything is saved"))
    _print([*lines, ("next", f"bigtrain fit run_dir={where} stop_at=null{again}")])


def _print(lines: Sequence[tuple[str, str]]) -> None:
    for name, text in lines:
        wrapped = textwrap.wrap(text, 68) if name in ("time", "speed") else [text]  # paths and commands stay whole
        sys.stdout.write(f"{name:<10}  " + f"\n{'':12}".join(wrapped) + "\n")


def spent(found: Mapping[str, Any]) -> str:
    """The wall time, and what it was spent on, the longest first; from `bigtrain.train.finish.times`."""
    parts = sorted((found.get("seconds_by_part") or {}).items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {part:.1f}" for name, part in parts if part >= 0.05)
    return f"{found['seconds']:.1f} s" + (f" = {shown}" if shown else "")


def _trace(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the trace is that this command wrote."""
    folder = Path(found["run_dir"]) / "profile"
    traces = sorted(folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not traces or "profile" not in (found.get("seconds_by_part") or {}):
        return []
    return [("profile", f"{traces[-1]} opens at ui.perfetto.dev; or: tensorboard --logdir {folder}")]


def _speed(found: Mapping[str, Any]) -> str:
    """Training throughput, operations counted in the program, and their share of the peak where it is known."""
    text = f"{count(found['examples_per_second'])} examples/s, {count(found['flops_per_second'])}FLOP/s"
    text += f" ({count(found['flops_per_step'])}FLOP a step)"
    if found.get("mfu") is not None:
        text += f"; MFU {found['mfu']:.1%} of {count(found['peak_flops'])}FLOP/s ({found['peak']})"
    return text


def count(number: float) -> str:
    """A large number for people, with its decimal prefix."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} P"


def scores(values: Mapping[str, float]) -> str:
    """Named scores on one line, the loss first."""
    names = sorted(values, key=lambda name: (name != "loss", name))
    return "  ".join(f"{name} {_score(name, values[name])}" for name in names)


def _score(name: str, value: float) -> str:
    """Four digits after the point; of a small number, or a large one, four that count."""
    if name == "parameters":
        return f"{value:,.0f}"
    return f"{value:.4f}" if value == 0 or 5e-4 <= abs(value) < 1e5 else f"{value:.4g}"


def parameters(ready: Prepared) -> int:
    """Trained numbers of the model."""
    return sum(math.prod(leaf.shape) for leaf in ready.program.abstract.params.values())


def state_bytes(ready: Prepared) -> int:
    """Bytes of the whole training state on one device."""
    import jax

    leaves = jax.tree.leaves(ready.program.abstract)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _model(ready: Prepared, checked: Checked) -> str:
    name = checked.nodes["model"].callee.target.rsplit(".", 1)[-1]
    return f"{name}: {parameters(ready):,} parameters; training state {size(state_bytes(ready))}"


def _task(ready: Prepared, checked: Checked) -> str:
    node = checked.nodes["task"]
    made = type(ready.program.definition.make_task(ready.values)).__name__
    return f"{made} (auto: from the model and the data)" if node.callee.target.endswith(".auto") else made


def _optimizer(ready: Prepared, checked: Checked) -> str:
    name = checked.nodes["optimizer"].callee.target.rsplit(".", 1)[-1]
    rate = ready.values.get("optimizer.learning_rate")
    text = name + (f", learning rate {rate:g}" if rate is not None else "")
    schedule = checked.nodes["schedule"].callee.target.rsplit(".", 1)[-1]
    warmup = ready.values.get("schedule.warmup") or 0
    return text + f", {schedule}" + (f" after {int(warmup):,} steps of warm-up" if warmup else "")


def _devices(ready: Prepared) -> str:
    import jax

    devices, mesh = jax.devices(), ready.rules.mesh
    kind = devices[0].device_kind if devices[0].platform != "cpu" else "cpu"
    why = ""
    if ready.run.mesh.data == "auto" and len(mesh.shape) == 1:
        why = "; auto: one on a CPU, all elsewhere" if mesh.size == 1 else "; auto: all there are"
    simulated = ", simulated" if ready.run.mesh.simulate else ""
    axes = " ".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1 or len(mesh.shape) == 1)
    return f"{mesh.size} of {len(devices)} {kind}{simulated} (mesh {axes}{why})"


def _sharding(ready: Prepared) -> str | None:
    """How much of the parameters and of the whole state each device holds; None where it is all of both."""
    from bigtrain.train.sharding import bytes_on_a_device, share

    state = ready.program.abstract
    whole, own = state_bytes(ready), bytes_on_a_device(state)
    if own == whole:
        return None
    found = share(state, ready.rules)
    text = f"{1 - found.whole:.1%} of the parameters split; each device holds {size(own)} of the training state"
    return text + (f"; largest left whole: {found.largest}" if found.largest and found.split else "")


def _dispatch(ready: Prepared) -> str:
    if ready.run.steps_per_dispatch != "auto":
        return f"{ready.placement.capacity} steps a call"
    from bigtrain.train.pace import LONG_SECONDS, LONG_STEPS, Pace

    pace = Pace.of(ready.rules.mesh.devices.flat[0].platform, ready.placement.capacity)
    slow = f", or of {LONG_STEPS} slow steps, {LONG_SECONDS:g} s at most" if pace.together else ""
    return f"up to {pace.capacity:,} steps a call (auto: calls of about {pace.target:g} s{slow})"


def _every(lengths: Lengths) -> str:
    spaced = lengths.save_apart and distributed.current().count == 1
    apart = f" (at least {lengths.save_apart:g} s apart)" if spaced else ""
    return f"evaluate {lengths.eval_every:,}, save {lengths.save_every:,}{apart}, log {lengths.log_every:,} steps"


def _compiled(ready: Prepared) -> str:
    text = f"{ready.compile_seconds:.1f} s"
    found, programs = ready.cached.hits, ready.cached.hits + ready.cached.misses
    if not ready.run.compilation_cache:
        return text + " (cache off)"
    return text + (f" (cache: {found} of {programs} programs found)" if programs else "")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) or number >= 1000 else f"{number:,.1f}"
