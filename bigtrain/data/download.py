"""Fetching a file of a data set: resumed where it was cut, checked against its checksum, never half in place."""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from bigtrain.config.errors import ConfigError, DataError

CHUNK = 1 << 18
WEB = ("http://", "https://")
STALE = 600  # seconds without a write after which a partial file belongs to no living process
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are worth another try


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to http and https only; Python's own would go to ftp too."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows."""
        if not newurl.lower().startswith(WEB):
            hint = "is the address right? set data.url to another mirror"
            raise DataError(req.full_url, f"redirects to {newurl}, which is no web address", hint=hint)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _CutError(Exception):
    """The connection ended before the file did; what arrived is kept."""


def cache(name: str) -> Path:
    """The folder where the files of a data set are kept: in `$BIGTRAIN_CACHE`, else the user's cache folder."""
    if os.environ.get("BIGTRAIN_CACHE"):
        return Path(os.environ["BIGTRAIN_CACHE"]).expanduser() / name
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "bigtrain" / name


@dataclass(frozen=True)
class Remote:
    """A file to fetch.

    Args:
        url: its http or https address.
        checksum: `algorithm:hex`, an algorithm of hashlib.
        limit: the most bytes that are accepted.
    """

    url: str
    checksum: str
    limit: int


def fetch(remote: Remote, path: Path, *, retries: int = 3, timeout: float = 30.0, wait: float = 1.0) -> Path:
    """`path`, fetched unless it is there; safe when several processes do so at once.

    What has arrived of a file is kept in `<name>.part` when the connection fails, and the next call goes on from there.

    Args:
        remote: what to fetch.
        path: where it goes.
        retries: how often a failed connection is tried again, resuming.
        timeout: seconds without a byte after which a connection has failed.
        wait: seconds before the first retry; they double.

    Raises:
        DataError: when the file can't be had, is too large, or doesn't match its checksum.
    """
    if path.exists():
        return path
    if not remote.url.lower().startswith(WEB):
        raise ConfigError("data.url", f"{remote.url!r} is no web address", allowed="http://… or https://…")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _claimed(path)
    except OSError as error:
        raise DataError(path.parent, f"can't be written: {error.strerror}", hint="set BIGTRAIN_CACHE=FOLDER") from error
    try:
        _fill(remote, part, path, retries, timeout, wait)
        _verify(remote, part)
        part.replace(path)
    finally:
        if part.exists():
            part.replace(path.with_name(f"{path.name}.part"))
    return path


def _claimed(path: Path) -> Path:
    """A partial file that only this process writes: one that was left behind, else a new one.

    A rename is atomic, so of two processes that find the same file one gets it, without a lock.
    """
    own = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    for left in path.parent.glob(f"{path.name}*.part"):
        try:
            in_order = left.name == f"{path.name}.part"  # given back by a process that could not go on
            if in_order or time.time() - left.stat().st_mtime > STALE:
                os.utime(left)  # before the rename, or the next process would take it for stale again
                left.rename(own)
                return own
        except FileNotFoundError:  # another process was faster
            continue
    own.touch()
    return own


def _fill(remote: Remote, part: Path, path: Path, retries: int, timeout: float, wait: float) -> None:
    """Append what is missing to `part`, over as many connections as it takes and `retries` allow."""
    for turn in range(retries + 1):
        try:
            _receive(remote, part, timeout)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # nothing after what we have: too long, or complete; the checksum tells
                return
            reason = f"HTTP {error.code} {error.reason}"
            if error.code not in PASSING:
                _give_up(remote, path, reason, error)
        except (urllib.error.URLError, _CutError, OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if turn == retries:
            _give_up(remote, path, reason, None)
        time.sleep(wait * 2**turn)


def _give_up(remote: Remote, path: Path, reason: str, cause: Exception | None) -> NoReturn:
    """Say what was to be fetched, from where, and how to do without."""
    hint = f"put the file at {path} by hand, set data.dir=FOLDER if you have it elsewhere, or data.url to a mirror"
    raise DataError(remote.url, f"can't be fetched: {reason}", hint=hint) from cause


def _receive(remote: Remote, part: Path, timeout: float) -> None:
    """One connection: ask for what is missing, and start over where the server sends everything."""
    have = part.stat().st_size
    request = urllib.request.Request(remote.url, headers={"Accept-Encoding": "identity", "User-Agent": "bigtrain"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(request, timeout=timeout) as answer, part.open("r+b") as file:
        if answer.status != 206:
            have = 0
        file.truncate(have)
        file.seek(have)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        _copy(remote, answer, file, have, total)


def _copy(remote: Remote, answer: http.client.HTTPResponse, file: BinaryIO, have: int, total: int | None) -> None:
    """Write the body of an answer from byte `have` on, with a progress line on a terminal."""
    shown = 0.0
    name = remote.url.rsplit("/", 1)[-1]
    if not sys.stderr.isatty():
        print(f"fetching {remote.url}", file=sys.stderr)
    while block := answer.read(CHUNK):
        have += len(block)
        if max(have, total or 0) > remote.limit:
            file.truncate(0)
            raise DataError(
                remote.url, f"is larger than the {remote.limit} bytes expected", hint="is the address right?"
            )
        file.write(block)
        if sys.stderr.isatty() and time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"\rfetching {name}: {have / 1e6:.1f}{of} MB", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(f"\rfetched {name}: {have / 1e6:.1f} MB      ", file=sys.stderr)
    if total is not None and have < total:
        raise _CutError(f"the connection was cut after {have} of {total} bytes")


def _verify(remote: Remote, part: Path) -> None:
    """Compare with the checksum; a file that doesn't match is removed."""
    algorithm, _, expected = remote.checksum.partition(":")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found != expected:
        part.unlink()
        problem = f"has {algorithm} {found}, not {expected}; what was fetched is removed"
        raise DataError(remote.url, problem, hint="try again, or set data.url to another mirror")
