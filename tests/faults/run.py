"""Every fault test, the long ones too, and a table of what they counted.

    python tests/faults/run.py [PYTEST OPTION…]

It takes about half an hour on two busy cores, most of it to start runs that are killed again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "counted.jsonl"
        lines.touch()
        environment = {**os.environ, "BIGTRAIN_FAULTS": str(lines), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "pytest", "tests/faults", "-m", "long or not long", *options]
        done = subprocess.run(command, cwd=ROOT, env=environment)
        print("\n| Fault | Counted |\n| --- | --- |")
        for text in lines.read_text().splitlines():
            found = json.loads(text)
            fault = found.pop("fault")
            numbers = ", ".join(f"{name} {number}" for name, number in found.items()).replace("_", " ")
            print(f"| {fault} | {numbers} |")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
