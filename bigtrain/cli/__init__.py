"""The `bigtrain` command: parses, calls, prints. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from bigtrain.config.errors import BigtrainError


OBJECTS = 20_000
"""New objects between two collections; with Python's 700, looking through what was imported is a tenth of a start."""

_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE)
"""Failures of the operating system that no program can prevent."""


def entry() -> NoReturn:
    """The command itself: `main`, and the end of the process."""
    import gc

    from bigtrain.run.ending import end_process

    gc.set_threshold(OBJECTS, 10, 10)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  as long as the process lives
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    end_process(code)


def main() -> int:
    """Runs the command line and returns the exit code; see `bigtrain.config.errors` for what each means."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # on a GPU, XLA warns of its own timers in every run
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handler
        return _answered()
    before = signal.signal(signal.SIGINT, _interrupted)
    try:
        return _left(_answered())
    except SystemExit as ended:
        raise SystemExit(_left(ended.code if isinstance(ended.code, int) else 1)) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _left(code: int) -> int:
    """The exit code, once this process has parted from the others of its run, if there are any."""
    if "bigtrain.parallel.distributed" in sys.modules:
        from bigtrain.parallel import distributed

        distributed.leave(code)
    return code


def _interrupted(number: int, frame: Any) -> None:
    """Ends at once, before a run listens for signals itself or after it: nothing is half written then.

    An exception instead would be swallowed by whichever import or callback it happened to meet.
    """
    os.write(2, b"interrupted; what was saved is intact\n")
    os._exit(128 + number)


def _answered() -> int:
    if len(sys.argv) > 1 and sys.argv[1] == "__complete":  # before Typer is imported: a key press can't wait for it
        from bigtrain.cli.complete import respond

        return respond(sys.argv[2:])
    from bigtrain.run.clock import Clock

    clock = Clock()
    import typer

    from bigtrain.cli.app import app
    from bigtrain.config.errors import BigtrainError, jax_setting

    sys.unraisablehook = _unraisable
    usage_error: Any = typer.BadParameter.__mro__[1]  # the base of all mistakes in arguments, which has no public name
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="bigtrain", standalone_mode=False, obj=clock)
        return code if isinstance(code, int) else 0
    except BigtrainError as error:
        return _told(error)
    except usage_error as error:
        from bigtrain.cli.usage import explained

        return _told(explained(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _unexpected(error) if error.errno not in _OF_THE_MACHINE else _failed(error)
    except Exception as error:
        if (setting := jax_setting(error)) is not None:
            return _told(setting)
        _explained(error)
        return _out_of_memory() if is_out_of_memory(error) else _unexpected(error)


def _explained(error: Exception) -> None:
    """Of several processes: a computation that fails because another process is gone is told as that."""
    if "bigtrain.parallel.distributed" in sys.modules:
        from bigtrain.parallel import distributed

        distributed.explain(error)


def _unraisable(raised: Any) -> None:
    """What reaches this hook comes from a callback of a library's own threads, not from a command.

    When a save fails, the array storage's pending reads find Orbax's event loop closed, and each says so with a
    traceback; the failure itself is raised where the save is waited for.
    """
    if not (isinstance(raised.exc_value, RuntimeError) and str(raised.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(raised)


def _told(error: BigtrainError) -> int:
    from bigtrain.config.errors import harmless
    from bigtrain.config.secrets import print_error
    from bigtrain.parallel import distributed

    text = distributed.told(error, sys.argv[1:])
    if text is not None:
        print_error(f"error: {harmless(text)}")
    return error.exit_code


def _failed(error: OSError) -> int:
    """The disk or the machine gave out; no bug."""
    from bigtrain.config.secrets import print_error

    print_error(f"error: {error.filename or 'the run'}: {error.strerror}")
    return 1


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: JAX has no class of its own for it; the host's is `MemoryError`."""
    told = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return isinstance(error, MemoryError) or (
        told and any(sign in str(error) for sign in ("RESOURCE_EXHAUSTED", "Out of memory"))
    )


def _out_of_memory() -> int:
    print("error: out of memory; what was saved is intact", file=sys.stderr)
    print("  try a smaller batch_size, accumulate=2, placement=stream, or a smaller model", file=sys.stderr)
    return 1


def _unexpected(error: Exception) -> int:
    """A bug, or a failure below bigtrain: one line, and the traceback in a file for the report."""
    import tempfile
    import traceback

    from bigtrain.config.secrets import hidden, print_error

    details = hidden("".join(traceback.format_exception(error)))
    if os.environ.get("BIGTRAIN_DEBUG"):
        print(details, end="", file=sys.stderr)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="bigtrain-", suffix=".log", delete=False) as file:
        file.write(details)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    if (place := _in_code_of_others(error)) is not None:
        print_error(f"error: {place}: {type(error).__name__}: {first}")
        print(f"  the details are in {file.name}", file=sys.stderr)
        return 1
    print_error(f"error: unexpected {type(error).__name__}: {first}")
    print(f"  this is a bug in bigtrain, or in what it calls; the details are in {file.name}", file=sys.stderr)
    return 1


def _in_code_of_others(error: Exception) -> str | None:
    """The last line that an error came through which is neither bigtrain's nor of an installed package."""
    import sysconfig
    import traceback
    from pathlib import Path

    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    homes = [Path(__file__).resolve().parent.parent, *(Path(path).resolve() for path in installed)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_file() and not any(path.is_relative_to(home) for home in homes):
            return f"{os.path.relpath(path)}:{frame.lineno} in {frame.name}"
    return None
