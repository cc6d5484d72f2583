"""The trace of some steps: which ones, what is written, and what it leaves as it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from command import bigtrain
from support import losses_of, run_fit

from bigtrain.config.errors import ConfigError
from bigtrain.run.clock import Clock
from bigtrain.train.profile import Profile

SHORT = ("steps=12", "batch_size=16", "log_every=1", "eval_every=4", "model.widths=[4]", "logger=jsonl")


def test_a_trace_holds_the_steps_that_were_asked_for_and_changes_no_number(tmp_path: Path) -> None:
    for name, own in (("plain", ()), ("traced", ("profile=true", "profile_from=6", "profile_steps=3"))):
        result = run_fit(tmp_path / name, *SHORT, *own)
    assert losses_of(tmp_path / "plain").tolist() == losses_of(tmp_path / "traced").tolist()
    assert not (tmp_path / "plain" / "profile").exists()
    folder = tmp_path / "traced" / "profile"
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    assert list(folder.glob("plugins/profile/*/*.xplane.pb"))  # where TensorBoard looks
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    calls = [event for event in events if "PjitFunction" in event.get("name", "") or "advance" in event.get("name", "")]
    assert calls
    assert 0 < result["speed"]["mfu"] <= 1
    assert result["seconds_by_part"]["profile"] > 0


@pytest.mark.parametrize(
    ("asked", "start", "steps", "expected"),
    [
        ((6, 3), 0, 12, (5, 8)),
        ((1, 3), 0, 12, (1, 4)),  # it begins between two steps
        ((11, 5), 0, 12, (7, 12)),
        ((6, 3), 8, 12, (9, 12)),
        ((6, 30), 0, 12, (1, 12)),
        ((6, 3), 11, 12, None),
        ((1, 1), 0, 1, None),
    ],
)
def test_the_steps_are_moved_into_what_is_left_of_the_run(asked, start, steps, expected) -> None:
    told: list[str] = []
    made = Profile.of(asked, start, steps, Path("unused"), Clock(), told.append)
    assert (made and (made.first, made.last)) == expected
    assert bool(told) == ((made and (made.first + 1, made.last - made.first)) != asked)


def test_it_is_due_at_its_first_and_its_last_step() -> None:
    made = Profile(5, 8, Path("unused"), Clock(), print)
    assert [made.after(step) for step in (0, 4, 5, 7)] == [5, 5, 8, 8]
    assert made.after(8) > 10**9


def test_a_trace_that_cannot_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("a file")
    told: list[str] = []
    made = Profile(1, 2, tmp_path / "profile", Clock(), told.append)
    made(1, {})
    made(2, {})
    assert len(told) == 1
    assert "no trace could be written" in told[0]


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (("profile_from=3",), "profile_from: says which steps to trace, and profile is off"),
        (("profile_steps=3",), "profile_steps: says which steps to trace, and profile is off"),
        (("profile=true", "profile_from=13"), "profile_from: step 13 is after the run's last, 12"),
    ],
)
def test_what_would_be_ignored_is_refused(overrides: tuple[str, ...], answer: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        run_fit(tmp_path / "run", *SHORT, *overrides)
    assert str(raised.value).splitlines()[0] == answer


def test_a_run_that_rests_has_its_trace_before_that_and_says_where_its_time_went(tmp_path: Path) -> None:
    options = (*SHORT, "profile=true", "profile_from=10", "profile_steps=2", "stop_at=6", f"run_dir={tmp_path / 'run'}")
    found = bigtrain("fit", *options)
    assert found.code == 0, found.err
    assert "note: the trace holds steps 5 to 6" in found.err
    (trace,) = (tmp_path / "run" / "profile").rglob("perfetto_trace.json.gz")
    lines = dict(line.split(None, 1) for line in found.out.splitlines() if not line.startswith(" "))
    assert lines["profile"].startswith(f"{trace} opens at ui.perfetto.dev")
    parts = found.out.split("time        ")[1].split("rests")[0].split("profile  ")[0]
    whole, _, spent = " ".join(parts.split()).partition(" s = ")
    assert sum(float(part.split()[-1]) for part in spent.split(", ")) == pytest.approx(float(whole), abs=0.5)


def test_a_run_that_ends_before_its_trace_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    made = Profile(5, 8, tmp_path / "profile", Clock(), told.append)
    made.close()
    assert told == ["note: no trace: the run ended before step 6, with which it would begin"]
    begun: list[str] = []
    made = Profile(1, 2, tmp_path / "profile", Clock(), begun.append)
    made(1, {})
    made.close()
    assert begun == []
