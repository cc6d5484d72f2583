"""A process that has imported everything and started nothing, and forks: a life costs a few seconds less.

    python tests/faults/zygote.py

Each line of its stdin is {"arguments": [...], "out": FILE}: it forks a child that runs `bigtrain ARGUMENTS…` with both
outputs in FILE, and answers with the child's process number; when the child has ended, with its exit code, negative for
a signal. `arguments` that begin with "saves" run `saves.main` instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    import flax  # noqa: F401
    import jax  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401

    import bigtrain.cli.app
    import bigtrain.cli.report
    import bigtrain.plan.check
    import bigtrain.train.fit  # noqa: F401

    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(told["arguments"], told["out"])
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(arguments: list[str], out: str) -> None:
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        if arguments[0] == "saves":
            sys.path.insert(0, str(HERE))
            import saves

            saves.main(arguments[1:])
            code = 0
        else:
            from bigtrain.cli import main as bigtrain

            sys.argv = ["bigtrain", *arguments]
            code = bigtrain()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Zygote:
    """The other side: starts lives, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def begin(self, arguments: list[str], out: Path) -> int:
        """Starts a life and returns its process number."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "out": str(out)}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """Waits for its end and returns the exit code."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def zygote(environment: dict[str, str]) -> Iterator[Zygote]:
    """A zygote with these variables, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield Zygote(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    main()
