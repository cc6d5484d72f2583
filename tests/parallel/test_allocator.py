"""What the compiler left is given back; what is freed later stays, and using it again costs no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bigtrain.parallel.allocator import settle

LIBC = """
import ctypes, resource, sys
from pathlib import Path
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])
def block(size):
    made = libc.malloc(size)
    libc.memset(made, 1, size)
    return made
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
"""
FAULTS = """
from bigtrain.parallel.allocator import settle
print(settle() if sys.argv[1] == "keep" else None)
def use():
    libc.free(block(48 << 20))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
def test_memory_that_is_used_again_is_not_touched_anew() -> None:
    def faults(how: str) -> tuple[str, int]:
        done = subprocess.run([sys.executable, "-c", LIBC + FAULTS, how], capture_output=True, text=True, check=True)
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
from bigtrain.parallel.allocator import give_back, settle
later = sys.argv[1] == "give_back"
settled = settle() if later else None
made = [block(16_384) for _ in range(6_400)]  # 100 MB
last = block(16_384)  # above it a piece that is kept: the heap can't just end earlier
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
    done = subprocess.run([sys.executable, "-c", LIBC + LEFT, how], capture_output=True, text=True, check=True)
    answer, given_back = done.stdout.split()
    if answer == "False":
        pytest.skip("another C library")
    assert int(given_back) > 90e6


APART = """
from bigtrain.parallel.allocator import apart, settle
settled = settle()
SIZE = 48 << 20
begun = resident()
with apart(SIZE):
    state, needed = block(SIZE), block(SIZE)
    libc.free(needed)
held = resident()
libc.free(state)
freed = resident()
libc.free(block(SIZE))
print(settled, *(taken - begun >> 20 for taken in (held, freed, resident())))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
def test_what_lasts_is_apart_and_goes_back_when_it_is_freed() -> None:
    """Unlike what is taken and freed with each call."""
    done = subprocess.run([sys.executable, "-c", LIBC + APART], capture_output=True, text=True, check=True)
    settled, held, freed, kept = done.stdout.split()
    if settled == "False":
        pytest.skip("another C library")
    assert int(held) == pytest.approx(48, abs=3)
    assert int(freed) == pytest.approx(0, abs=3)
    assert int(kept) == pytest.approx(48, abs=3)


ENCODED = """
import contextlib, threading
from bigtrain.parallel.allocator import LARGE, apart, give_back, settle
settled = settle()
begun = resident()
def encode():
    for size in (1 << 19, 24 << 20):  # the first takes an arena of its own for this thread
        libc.free(block(size))
with contextlib.ExitStack() as inside:
    if sys.argv[1] != "beside":
        inside.enter_context(apart(LARGE if sys.argv[1] == "large" else LARGE - 1))
    thread = threading.Thread(target=encode)
    thread.start()
    thread.join()
give_back()
print(settled, resident() - begun >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
@pytest.mark.parametrize(("how", "stays"), [("beside", 24), ("small", 24), ("large", 0)])
def test_what_another_thread_needed_once_goes_back(how: str, stays: int) -> None:
    """The end of its arena, which `give_back` can't take."""
    done = subprocess.run([sys.executable, "-c", LIBC + ENCODED, how], capture_output=True, text=True, check=True)
    settled, left = done.stdout.split()
    if settled == "False":
        pytest.skip("another C library")
    assert int(left) == pytest.approx(stays, abs=3)
