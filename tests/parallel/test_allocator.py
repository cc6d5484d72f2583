"""What the compiler left is given back; what is freed later stays, and using it again costs no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bigtrain.parallel.allocator import settle

FAULTS = """
import ctypes, resource, sys
from bigtrain.parallel.allocator import settle
print(settle() if sys.argv[1] == "keep" else None)
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
    assert not settle()


LEFT = """
import ctypes, sys
from pathlib import Path
from bigtrain.parallel.allocator import give_back, settle
later = sys.argv[1] == "give_back"
settled = settle() if later else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])
def pieces(number):
    made = [libc.malloc(16_384) for _ in range(number)]
    for piece in made:
        libc.memset(piece, 1, 16_384)
    return made
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
made, last = pieces(6_400), pieces(1)  # 100 MB, and above it a piece that is kept: the heap can't just end earlier
for piece in made:
    libc.free(piece)
before = resident()
if later:
    give_back()
else:
    settled = settle()
print(settled, before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
@pytest.mark.parametrize("how", ["settle", "give_back"])
def test_what_is_free_goes_back(how: str) -> None:
    """When it begins; and later, when that is asked for."""
    done = subprocess.run([sys.executable, "-c", LEFT, how], capture_output=True, text=True, check=True)
    answer, given_back = done.stdout.split()
    if answer == "False":
        pytest.skip("another C library")
    assert int(given_back) > 90e6


APART = """
import ctypes
from pathlib import Path
from bigtrain.parallel.allocator import lasting, settle
settled = settle()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])
def block():
    made = libc.malloc(48 << 20)
    libc.memset(made, 1, 48 << 20)
    return made
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
begun = resident()
with lasting():
    state, needed = block(), block()
    libc.free(needed)
held = resident()
libc.free(state)
freed = resident()
libc.free(block())
print(settled, held - begun, freed - begun, resident() - begun)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
def test_what_lasts_is_apart_and_goes_back_when_it_is_freed() -> None:
    """Unlike what is taken and freed with each call."""
    done = subprocess.run([sys.executable, "-c", APART], capture_output=True, text=True, check=True)
    settled, held, freed, kept = done.stdout.split()
    if settled == "False":
        pytest.skip("another C library")
    assert int(held) == pytest.approx(48, abs=3)
    assert int(freed) == pytest.approx(0, abs=3)
    assert int(kept) == pytest.approx(48, abs=3)
