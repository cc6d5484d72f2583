"""How much memory each process of an FSDP run needs, against one process by itself: measured, not planned.

    python scripts/check_fsdp_memory.py       # GPT-2 small with adam; about two minutes
    python scripts/check_fsdp_memory.py --model transformer/gpt2_xl --optimizer sgd optimizer.momentum=null

The second has 1.5 B parameters; benchmarks/LOG.md says what was seen.

Each line is a run of three steps that saves at the end. What is measured is the peak of each process's resident memory,
as the system counts it (VmHWM), less that of the same program with a tiny model: Python, JAX, XLA.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TINY = ("model=transformer/nano", "model.layers=1", "model.width=32", "model.heads=2")
LABELS = ("early", "late")


@dataclass(frozen=True)
class Measured:
    """One run: the peak of each process in bytes, and what it was."""

    peaks: tuple[int, ...]
    parameters: int
    seconds: float
    losses: tuple[float, ...]


def write_texts(path: Path, length: int) -> None:
    """Forty labelled texts."""
    draw = random.Random(0)
    rows = ["text,label"]
    rows += [f"{''.join(draw.choices('abcdefgh ', k=length))},{LABELS[at % 2]}" for at in range(40)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def peaks_of(launcher: int) -> dict[int, int]:
    """The peak resident memory of each child of a process, by its number."""
    found = {}
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        for child in children:
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    found[int(child)] = int(line.split()[1]) * 1024
    except OSError:  # it has just ended
        pass
    return found


def measure(processes: int, overrides: list[str]) -> Measured:
    """Runs `bigtrain launch -n N fit …` and watches its processes."""
    with tempfile.TemporaryDirectory(prefix="bigtrain-memory-") as folder:
        texts, run = Path(folder) / "texts.csv", Path(folder) / "run"
        write_texts(texts, 60)
        given = [
            "data=text_classification", f"data.path={texts}", "batch_size=4", "eval_batch_size=4", "steps=3",
            "log_every=1", "logger=jsonl", "placement=stream", "mesh=fsdp", "checkpoint.best=false",
            "steps_per_dispatch=1", f"run_dir={run}", *overrides,
        ]  # fmt: skip
        command = [sys.executable, "-m", "bigtrain", "launch", "-n", str(processes), "fit", *given, "--json"]
        begun, peaks = time.monotonic(), {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as job:
            while job.poll() is None:
                peaks.update(peaks_of(job.pid))
                time.sleep(0.1)
            assert job.stdout is not None
            output = job.stdout.read()
        if job.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {job.returncode}")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = tuple(line["train/loss"] for line in lines if "train/loss" in line)
        result = json.loads(output)
    return Measured(tuple(peaks.values()), result["parameters"], time.monotonic() - begun, losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="transformer/gpt2", help="a choice of the group model")
    parser.add_argument("--optimizer", default="adam", help="a choice of the group optimizer")
    parser.add_argument("--processes", default="1,2", help="how many, one run for each: 1,2")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE for each run")
    asked = parser.parse_intermixed_args()
    print("| processes | parameters | peak of each, MB | less a tiny model's | of one process | seconds | losses |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    alone = None
    for number in map(int, asked.processes.split(",")):
        bare = max(measure(number, [*TINY, f"optimizer={asked.optimizer}"]).peaks)
        large = [f"model={asked.model}", "model.dropout=0", f"optimizer={asked.optimizer}", *asked.overrides]
        found = measure(number, large)
        own = max(found.peaks) - bare
        alone = own if number == 1 else alone
        share = f"{own / alone:.2f}" if alone else "-"
        peaks = " ".join(f"{peak / 1e6:,.0f}" for peak in found.peaks)
        losses = " ".join(f"{loss:.5f}" for loss in found.losses)
        row = (str(number), f"{found.parameters:,}", peaks, f"{own / 1e6:,.0f}", share, f"{found.seconds:.0f}", losses)
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
