"""The `bigtrain` command: parses, calls, prints. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Runs the command line and returns the exit code; see `bigtrain.config.errors` for what each means."""
    if len(sys.argv) > 1 and sys.argv[1] == "__complete":  # before Typer is imported: a key press can't wait for it
        from bigtrain.cli.complete import respond

        return respond(sys.argv[2:])
    from bigtrain.cli.app import app
    from bigtrain.config.errors import BigtrainError

    try:
        app(prog_name="bigtrain")
    except BigtrainError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _unexpected(error)
    return 0


def _unexpected(error: Exception) -> int:
    """A bug, or a failure below bigtrain: one line, and the traceback in a file for the report."""
    import tempfile
    import traceback

    if os.environ.get("BIGTRAIN_DEBUG"):
        traceback.print_exception(error)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="bigtrain-", suffix=".log", delete=False) as file:
        traceback.print_exception(error, file=file)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    print(f"error: unexpected {type(error).__name__}: {first}", file=sys.stderr)
    print(f"  this is a bug in bigtrain, or in what it calls; the details are in {file.name}", file=sys.stderr)
    return 1
