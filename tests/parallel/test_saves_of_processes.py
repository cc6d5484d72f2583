"""What several processes wait for when they save together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT, environment, launch


def test_a_copy_of_several_processes_touches_no_new_page() -> None:
    """Of 80 MB in two processes 40 MB each are copied, 10,000 pages; of which room has been made before."""
    script = str(ROOT / "scripts" / "bench_checkpoint.py")
    given = [sys.executable, script, "--processes", "2", "--megabytes", "80", "--saves", "2", "--before", "2"]
    done = subprocess.run(given, env=environment(), capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["devices"]) == len(found["blocked_ms_of_each"]) == 2, "two processes"
    assert len(found["room_made_s"]) == 1
    assert max(found["page_faults"]) < 3000


@pytest.mark.long
@pytest.mark.parametrize("mesh", ["fsdp", "data"])
def test_what_is_saved_from_room_that_was_made_is_the_state_of_its_step(mesh: str, tmp_path: Path) -> None:
    """Training goes on while the copy is written; done again, it gives the same bits at the next checkpoint."""
    run = tmp_path / "run"
    options = ("model.widths=[4096,2048]", "batch_size=16", "steps=6", "checkpoint.every=2", "checkpoint.keep=9")
    done = launch("-n", "2", "fit", *options, f"mesh={mesh}", "checkpoint.best=false", "logger=jsonl", f"run_dir={run}")
    assert done.returncode == 0, done.stderr
    assert "training state 104" in done.stderr, "over the size of which room is made, in each process"
    for step in ("2", "4"):
        done = launch("-n", "2", "verify", str(run), "--json", "--checkpoint", step)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["equal"]
