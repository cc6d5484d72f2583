"""Language models of 125 million and of a billion parameters on the device at hand: speed, MFU, and predicted memory.

    python scripts/bench_lm.py                             # both, bf16, on one accelerator
    python scripts/bench_lm.py --only 1B --set batch_size=16 model.remat=full
    python scripts/bench_lm.py --only tiny --steps 4       # a check that the script works, for a CPU

Each is trained through `prepare` and the training loop, with metrics and the check for finite numbers, and without
evaluation and checkpoints, which a run of the real length has every 10% only. What the device held at its fullest is
compared with what `bigtrain fit` computes before it starts, and with `bigtrain plan` for the same chip in a process
that sees no accelerator. Each model has a process of its own, since a device's peak is that of its whole life.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.arguments import count

ROOT = Path(__file__).resolve().parents[1]
TOKENS = ("data=random_tokens", "data.examples=4096", "steps=1000", "precision=bf16")
MODELS = {
    # GPT-2's 50,257 tokens rounded up to a multiple of 128, as is usual: matrix units want even sizes
    "125M": (
        *TOKENS, "model=transformer/gpt2", "model.dropout=0", "data.vocabulary=50304", "data.length=1024",
        "batch_size=64",
    ),
    # the same size in the form of the larger ones: no biases, fewer and larger heads
    "125M-llama": (
        *TOKENS, "model=transformer", "model.layers=12", "model.width=768", "model.heads=6", "model.scan_layers=true",
        "model.remat=dots", "data.vocabulary=50304", "data.length=2048", "batch_size=32",
    ),
    "1B": (
        *TOKENS, "model=transformer/llama3_1b", "data.vocabulary=128256", "data.length=2048", "batch_size=8",
    ),
    "1B-flat": (
        *TOKENS, "model=transformer/llama3_1b", "data.vocabulary=128256", "data.length=2048", "batch_size=8",
        "model.remat=none", "model.scan_layers=false",
    ),
    "tiny": (*TOKENS, "model=transformer/nano", "data.vocabulary=512", "data.length=64", "batch_size=4"),
}  # fmt: skip


def measured(overrides: list[str], steps: int) -> dict[str, Any]:
    """Trains in this process; the numbers of one model."""
    sys.path.insert(0, str(ROOT))  # bigtrain needn't be installed
    import jax

    from bigtrain.cli.fit import understood
    from bigtrain.data.load import load_data
    from bigtrain.parallel.peak import tabled
    from bigtrain.plan.check import here, memory_of
    from bigtrain.run.clock import Clock
    from bigtrain.train.check_finite import CheckFinite
    from bigtrain.train.fit import paced
    from bigtrain.train.log import Log
    from bigtrain.train.loop import train
    from bigtrain.train.prepare import prepare

    _, checked, trusted = understood([*overrides, "run_dir=unused"], None, [])
    ready = prepare(checked, trusted, load_data(checked, trusted))
    device = jax.local_devices()[0]
    expected = memory_of(ready, here([device]))
    numbers = ready.program.numbers(ready.values)
    state, at = ready.program.init(numbers), 0
    clock, pace = Clock(), paced(ready)
    losses: list[float] = []

    class Losses:
        """A logger that keeps the training loss."""

        def log(self, step: int, scalars: dict[str, float]) -> None:
            losses.append(scalars["train/loss"])

        def close(self) -> None:
            pass

    for number in (8, steps):  # the first call loads the program, and the pace is found
        log = Log(max(1, number // 4), [Losses()], checked.run.batch_size, 1.0, clock)
        hooks = [CheckFinite(at + number), log]
        begun = time.perf_counter()
        state = train(
            ready.program, ready.placement, hooks, state, numbers, start=at, steps=at + number, pace=pace, clock=clock
        )
        seconds, at = (time.perf_counter() - begun) / number, at + number
    most = tabled(device.device_kind, checked.run.precision)
    tokens = checked.run.batch_size * ready.dataset.spec.inputs.shape[0]
    return {
        "device": device.device_kind, "jax": jax.__version__, "compile_seconds": round(ready.compile_seconds, 1),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)), "batch_tokens": tokens,
        "step_ms": round(seconds * 1e3, 2), "tokens_per_second": round(tokens / seconds),
        "flops_per_step": ready.program.flops, "mfu": ready.program.flops / seconds / most if most else None,
        "losses": [round(loss, 4) for loss in losses],
        "expected_bytes": expected.peak if expected else None,
        "peak_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
    }  # fmt: skip


def planned(overrides: list[str], kind: str) -> int | None:
    """What `bigtrain plan` says for a chip of this kind, in a process that sees none."""
    sys.path.insert(0, str(ROOT))
    from bigtrain.plan.hardware import CHIPS

    chip = next((chip for chip in CHIPS.values() if chip.kind.lower() == kind.lower()), None)
    if chip is None or chip.platform == "cpu":
        return None
    command = [sys.executable, "-m", "bigtrain", "plan", *overrides, f"hardware={chip.platform}-{chip.name}-1"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=variables, timeout=600)
    except subprocess.TimeoutExpired:
        print("bigtrain plan took more than ten minutes", file=sys.stderr)
        return None
    if not done.stdout.startswith("{"):
        print(done.stderr, file=sys.stderr)
        return None
    found: int = json.loads(done.stdout)["memory"]["peak_bytes"]
    return found


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""

    def against(key: str) -> str:
        if not (found.get(key) and found.get("peak_bytes")):
            return "-"
        return f"{found[key] / 1e9:.2f} GB ({found[key] / found['peak_bytes'] - 1:+.1%})"

    mfu = "-" if found["mfu"] is None else f"{found['mfu']:.1%}"
    peak = f"{found['peak_bytes'] / 1e9:.2f} GB" if found.get("peak_bytes") else "-"
    return (
        f"| {name} | {found['parameters'] / 1e6:,.0f} M | {found['batch_tokens']:,} | {found['step_ms']:,.1f} ms "
        f"| {found['tokens_per_second']:,} | {mfu} | {found['compile_seconds']} s | {peak} "
        f"| {against('expected_bytes')} | {against('planned_bytes')} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=["125M", "1B"], metavar="MODEL")
    parser.add_argument("--set", nargs="+", default=[], metavar="OVERRIDE", help="further overrides of the config")
    parser.add_argument("--steps", type=count, default=40, help="steps that are timed")
    parser.add_argument("--no-plan", action="store_true", help="leave `bigtrain plan` out")
    parser.add_argument("--output", type=Path, help="a JSON file for all numbers")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(measured([*MODELS[given.only[0]], *given.set], given.steps)))
        return
    results: dict[str, Any] = {}
    failed: list[str] = []
    columns = ["model", "parameters", "tokens a step", "step", "tokens/s", "MFU", "compiled in"]
    columns += ["peak memory", "fit says", "plan says"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
    for name in given.only:
        overrides = [*MODELS[name], *given.set]
        command = [sys.executable, __file__, "--worker", "--only", name, "--steps", str(given.steps)]
        command += ["--set", *given.set] if given.set else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: {done.stderr.strip()[-2000:]}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        if not given.no_plan:
            found["planned_bytes"] = planned(overrides, found["device"])
        results[name] = {"overrides": overrides, **found}
        print(row(name, found), flush=True)
    if given.output:
        given.output.write_text(json.dumps(results, indent=1), encoding="utf-8")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
