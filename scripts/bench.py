"""bigtrain beside hand-written JAX, Keras and PyTorch: paired and interleaved timings of six reference workloads.

    python scripts/bench.py setup                         # the peers, into environments of their own
    python scripts/bench.py run                           # everything; writes benchmarks/results/
    python scripts/bench.py run --workloads W1 W6 --against bare torch --rounds 7 --seconds 3
    python scripts/bench.py run --quick                   # a smoke check on small data
    python scripts/bench.py start                         # process start to first step, and to the end of ten epochs
    python scripts/bench.py data                          # µs a sample of the data path

How to read the results, and what counts as the same work: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from pathlib import Path

from bench import datasets, environments, machine, measure, report, start
from bench.arguments import count, seconds
from bench.catalog import OTHERS, OURS, SIDES, WORKLOADS, Side, chosen_sides, shortened, variant

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "benchmarks"


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--environments", type=Path, default=HOME / ".environments", help="where the peers live")
    setup = verbs.add_parser("setup", parents=[shared], help="make the peers' environments")
    setup.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(environments.PINS)}; all by default")
    setup.add_argument(
        "--pip", nargs="*", default=[], metavar="WORD", help="words for pip, each as --pip=--index-url=…"
    )

    measuring = argparse.ArgumentParser(add_help=False, parents=[shared])
    measuring.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="use this Python instead")
    measuring.add_argument("--against", nargs="*", default=list(OTHERS), metavar="SIDE", help=", ".join(SIDES))
    measuring.add_argument("--work", type=Path, default=HOME / ".work", help="data and logs of the workers")
    measuring.add_argument("--results", type=Path, default=HOME / "results", help="where tables are written")
    measuring.add_argument("--quick", action="store_true", help="a smoke check: small data, one short round; no result")

    run = verbs.add_parser("run", parents=[measuring], help="time the workloads")
    run.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS), metavar="W")
    run.add_argument("--rounds", type=count, default=7, help="how often each side is timed")
    run.add_argument("--seconds", type=seconds, default=3.0, help="length of a timing of the fastest side")
    run.add_argument("--also", action="append", default=[], metavar="'NAME: override …'", help="a second bigtrain")
    run.add_argument("--no-losses", action="store_true", help="leave the comparison of final losses out")

    begin = verbs.add_parser("start", parents=[measuring], help="time whole processes on W1")
    begin.add_argument("--repeats", type=count, default=3)
    begin.add_argument("--epochs", type=count, default=10)

    data = verbs.add_parser("data", parents=[measuring], help="µs a sample of the data path")
    data.add_argument("--workloads", nargs="+", default=["W1", "W4", "W6"], choices=list(WORKLOADS), metavar="W")
    data.add_argument("--rounds", type=count, default=5)
    return parser.parse_args(words)


def pythons(asked: argparse.Namespace) -> dict[str, str | None]:
    """The Python of each environment; exits where an option names none."""
    given = {text.partition("=")[0]: text.partition("=")[2] for text in asked.python}
    for name, path in given.items():
        if name not in environments.PINS or not Path(path).exists():
            sys.exit(f"--python {name}={path}: there is no such Python; NAME is one of {', '.join(environments.PINS)}")
    return {name: environments.found(name, asked.environments, given) for name in ("own", *environments.PINS)}


def sides(asked: argparse.Namespace) -> list[Side]:
    """Who takes part."""
    try:
        found = [*chosen_sides(asked.against), *map(variant, getattr(asked, "also", []))]
    except ValueError as error:
        sys.exit(str(error))
    names = [side.name for side in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        sys.exit(f"two sides are called {twice!r}; choose another NAME for --also")
    return found


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def folder(asked: argparse.Namespace) -> Path:
    """Where results go; those of a smoke check are none."""
    return asked.work / "results" if asked.quick else asked.results


def stem(verb: str) -> str:
    """A name that sorts by date."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d-%H%M}-{verb}"


def run(asked: argparse.Namespace) -> None:
    """Times workloads; what is done is written after each, so that a long run leaves something when it is ended."""
    about, measured, taking = machine.describe(), {}, sides(asked)
    short = measure.Settings(rounds=1, seconds=0.3, losses=not asked.no_losses, tolerance=0.3)
    full = measure.Settings(rounds=asked.rounds, seconds=asked.seconds, losses=not asked.no_losses)
    settings = short if asked.quick else full
    name = stem("run")
    workloads = [shortened(WORKLOADS[name]) if asked.quick else WORKLOADS[name] for name in asked.workloads]
    for done, workload in enumerate(workloads, 1):
        data = datasets.written(workload.data, environments.private(asked.work) / "data", small=asked.quick)
        found = measure.measure(workload, taking, pythons(asked), data, asked.work / "logs", settings, say)
        measured[workload.name] = found
        page = report.page(workloads[:done], measured, about, settings)
        where = report.write(folder(asked), name, page, report.as_json(measured, about, settings))
    print(page)
    say(f"written to {where} and .json")
    failed = [f"{name} {side}" for name, found in measured.items() for side, one in found.items() if one.failure]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def begin(asked: argparse.Namespace) -> None:
    """Times whole processes."""
    if other := next((side.name for side in sides(asked)[1:] if side.module == OURS.module), None):
        sys.exit(f"--against {other}: start times `bigtrain fit` as it is")
    about, workload = machine.describe(), WORKLOADS["W1"]
    data = datasets.written(workload.data, environments.private(asked.work) / "data", small=asked.quick)
    repeats, epochs = (1, 1) if asked.quick else (asked.repeats, asked.epochs)
    found, failed = start.measure(
        workload, sides(asked), pythons(asked), data, asked.work / "logs", repeats=repeats, epochs=epochs, say=say
    )
    written("start", asked, found, about)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def data(asked: argparse.Namespace) -> None:
    """Times the data path."""
    sys.path.insert(1, str(ROOT))  # bigtrain needn't be installed
    from bench import datapath  # imports it, and JAX

    about, pages = machine.describe(), []
    for workload in (WORKLOADS[name] for name in asked.workloads):
        where = datasets.written(workload.data, environments.private(asked.work) / "data", small=asked.quick)
        rounds, samples = (1, 5_000) if asked.quick else (asked.rounds, 200_000)
        pages.append(datapath.measure(workload, where, rounds=rounds, samples=samples))
    written("data", asked, "\n\n".join(pages), about)


def written(verb: str, asked: argparse.Namespace, found: str, about: dict[str, object]) -> None:
    """Prints and keeps a page."""
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items() if value)
    page = f"{found}\n\n{facts}\n"
    where = report.write(folder(asked), stem(verb), page, {"about": about, "page": found})
    print(page)
    say(f"written to {where}")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are ended too
    asked = parsed()
    if asked.verb == "setup":
        unknown = [name for name in asked.names if name not in environments.PINS]
        if unknown:
            sys.exit(f"there is no environment {unknown[0]!r}; there are {', '.join(environments.PINS)}")
        environments.make(asked.names or list(environments.PINS), asked.environments, asked.pip)
        return
    {"run": run, "start": begin, "data": data}[asked.verb](asked)


if __name__ == "__main__":
    main()
