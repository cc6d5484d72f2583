"""Compares what `bigtrain plan` predicts on this CPU with what `bigtrain fit` then takes: memory of the whole process.

    python scripts/check_plan.py [--only NAME] [--output docs/plan-measured.md]

Each configuration is planned, then trained for a few steps with evaluation and a checkpoint, each in a process of its
own; the measured number is the largest resident set that the system saw (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = ("steps=6", "log_every=3", "eval_every=100%", "checkpoint.every=100%")
CONFIGURATIONS = {
    "mlp": ("model=mlp",),
    "mlp, 4096 wide": ("model=mlp", "model.widths=[4096,4096]", "batch_size=1024", "data=mnist1d"),
    "mlp, 4096 wide, adafactor": (
        "model=mlp",
        "model.widths=[4096,4096,4096]",
        "optimizer=adafactor",
        "data=mnist1d",
    ),
    "lstm": ("model=rnn", "data=text", "model.width=512", "batch_size=128"),
    "lenet": ("model=cnn/lenet5", "batch_size=512"),
    "resnet18": ("model=cnn/resnet18", "batch_size=256"),
    "vae": ("model=vae", "model.widths=[2048,2048]", "batch_size=512"),
    "gpt, 256 wide": ("model=transformer/nano", "model.width=256", "data=text", "data.length=256", "batch_size=16"),
    "llama, 512 wide, remat": (
        "model=transformer/llama_nano",
        "model.width=512",
        "model.layers=8",
        "model.heads=8",
        "model.remat=full",
        "model.scan_layers=true",
        "data=text",
        "data.length=256",
        "batch_size=16",
        "eval_batch_size=16",
    ),
    "gpt on 4 simulated devices": (
        "model=transformer/nano",
        "data=text",
        "data.length=128",
        "batch_size=64",
        "mesh=fsdp",
        "mesh.simulate=4",
    ),
    "gpt2, 124 M": (
        "model=transformer/gpt2",
        "data=random_tokens",
        "data.vocabulary=50257",
        "data.length=128",
        "data.examples=100",
        "batch_size=2",
        "eval_batch_size=2",
    ),
}
WORKER = "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE); \
print(json.dumps({'code': done.returncode, 'out': done.stdout.decode(), \
'peak': resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}))"


def run(command: list[str]) -> tuple[dict, int]:
    """The JSON that a command printed, and its peak memory in bytes."""
    command = [sys.executable, "-m", "bigtrain", *command, "--json"]
    done = subprocess.run([sys.executable, "-c", WORKER, *command], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["code"]:
        raise SystemExit(f"{' '.join(command)} ended with {found['code']}\n{done.stderr}")
    return json.loads(found["out"]), found["peak"]


def compared(overrides: tuple[str, ...]) -> tuple[dict, dict, int]:
    """The plan, the result, and the measured peak of one configuration; nothing is found in a cache of programs."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BIGTRAIN_CACHE"] = str(Path(folder) / "cache")
        given = [*overrides, *STEPS, "compilation_cache=false"]
        plan, _ = run(["plan", *given])
        result, peak = run(["fit", *given, f"run_dir={folder}/run"])
    return plan, result, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a part of the name of the configurations to run")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the table to")
    arguments = parser.parse_args()
    lines = [
        "| configuration | parameters | predicted MB | measured MB | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for name, overrides in CONFIGURATIONS.items():
        if arguments.only and arguments.only not in name:
            continue
        plan, result, measured = compared(overrides)
        assert plan["parameters"] == result["parameters"], name
        predicted = plan["memory"]["peak_bytes"] * plan["devices"]
        row = f"| {name} | {plan['parameters']:,} | {predicted / 1e6:,.0f} | {measured / 1e6:,.0f} "
        lines.append(f"{row}| {predicted / measured - 1:+.1%} |")
        print(lines[-1], plan["memory"]["categories"] if os.environ.get("DEBUG") else "", flush=True)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
