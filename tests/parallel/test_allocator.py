"""Freed memory stays with the process: touching it again costs no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bigtrain.parallel.allocator import keep_freed_memory

FAULTS = """
import ctypes, resource, sys
from bigtrain.parallel.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])
def use():
    block = libc.malloc(48 << 20)
    libc.memset(block, 1, 48 << 20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
def test_memory_that_is_used_again_is_not_touched_anew() -> None:
    def faults(how: str) -> tuple[str, int]:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        answer, number = done.stdout.split()
        return answer, int(number)

    answer, kept = faults("keep")
    if answer == "False":
        pytest.skip("another C library")
    _, given_back = faults("give back")
    if given_back < 1000:
        pytest.skip("pages are huge here: there is nothing to save")
    assert kept < given_back / 10


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_user_who_has_tuned_it_keeps_that(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    assert not keep_freed_memory()
