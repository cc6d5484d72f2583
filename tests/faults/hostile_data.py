"""Data sets, tokenizers and inputs that a stranger made."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hostile_runs
import numpy as np
from attack import Attack, Place
from PIL import Image

MANY = 1 << 44  # bytes that a header claims: more than any machine of today has


class Executed:
    """Unpickled, it leaves a mark."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def _inspect(kind: str, name: str = "", **fields: str) -> Sequence[str]:
    key = "dir" if kind == "idx" else "path"
    return (
        "data",
        "inspect",
        kind,
        f"data.{key}=came/{name}".rstrip("/"),
        *(f"data.{k}={v}" for k, v in fields.items()),
    )


def _file(name: str, content: Callable[[Place], bytes], words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        (place.came / name).parent.mkdir(parents=True, exist_ok=True)
        (place.came / name).write_bytes(content(place))
        return words

    return make


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _claims(shape: tuple[int, ...], descr: str = "<f8", body: bytes = b"\0" * 64) -> bytes:
    """An .npy that claims to be larger than it is."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + body


def _zip(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def _promising(content: bytes, size: int) -> bytes:
    """An archive whose directory says that each member unpacks to `size` bytes."""
    raw = bytearray(content)
    at = raw.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<I", raw, at + 24, size)
        at = raw.find(b"PK\x01\x02", at + 4)
    return bytes(raw)


def _pickled(place: Place) -> bytes:
    return _npy(np.array([Executed(place.canary)], object))


def _bomb() -> bytes:
    """A gigabyte of zeros as a gzip of a megabyte, made of parts that are packed once."""
    return gzip.compress(b"\0" * (16 << 20), 6) * 64


def _letters() -> bytes:
    """The same, of letters and without a line end."""
    return gzip.compress(b"a" * (16 << 20), 6) * 64


def _png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that says to be of a size, with next to nothing in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def _eps(place: Place) -> bytes:
    """PostScript, a language in which a program may be written: Pillow would start Ghostscript with it."""
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(" + str(place.canary).encode() + b") (w) file closefile\n"
    )


def _pictures(change: Callable[[Path, Place], None], **fields: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        for name in ("cat", "dog"):
            (place.came / name).mkdir()
            for at in range(6):
                Image.new("L", (8, 8), at * 9).save(place.came / name / f"{at}.png")
        change(place.came, place)
        return _inspect("image_folder", **fields)

    return make


def _secret_picture(came: Path, place: Place) -> None:
    Image.new("L", (8, 8)).save(place.outside / "private.png")
    (came / "cat" / "private.png").symlink_to(place.outside / "private.png")


def _wav(fmt: int) -> bytes:
    """A sound whose format takes `fmt` bytes, by its header."""
    return b"RIFF" + struct.pack("<I", 4) + b"WAVEfmt " + struct.pack("<I", fmt) + b"\0" * 24


def _arrow(change: Callable[[Path, Place], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        import datasets

        made = datasets.Dataset.from_dict({"x": [float(at) for at in range(40)], "label": [at % 2 for at in range(40)]})
        datasets.DatasetDict({"train": made}).save_to_disk(str(place.came))
        made.save_to_disk(str(place.outside / "private"))
        change(place.came, place)
        return _inspect("huggingface")

    return make


def _stated(name: str, **values: Any) -> Callable[[Path, Place], None]:
    def change(came: Path, place: Place) -> None:
        path = came / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _linked_shard(came: Path, place: Place) -> None:
    shard = next((came / "train").glob("*.arrow"))
    shard.unlink()
    shard.symlink_to(next((place.outside / "private").glob("*.arrow")))


def _pipe(name: str, words: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        os.mkfifo(place.came / name)
        return words

    return make


def _predict(name: str, content: Callable[[Place], bytes]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        hostile_runs.plain(place)
        (place.work / name).write_bytes(content(place))
        return ("predict", "came", "--input", name, "--output", "out.csv")

    return make


def _tokens(change: Callable[[Path, Place], None]) -> Callable[[Place], Sequence[str]]:
    """A folder of tokens, as `bigtrain data tokenize` writes it."""

    def make(place: Place) -> Sequence[str]:
        (place.came / "tokenizer.json").write_text(json.dumps(_tokenizer()))
        np.save(place.came / "tokens.npy", np.zeros(4000, np.uint16))
        (place.came / "tokens.json").write_text("{}")
        change(place.came, place)
        return _inspect("text")

    return make


def _tokenizer(**changes: Any) -> dict[str, Any]:
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a", **changes.pop("model", {})}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **changes,
    }  # fmt: skip


def _tokenizer_file(text: str) -> Callable[[Place], Sequence[str]]:
    return _tokens(lambda came, place: _write(came / "tokenizer.json", text))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _link(name: str) -> Callable[[Path, Place], None]:
    def change(came: Path, place: Place) -> None:
        (came / name).unlink()
        (came / name).symlink_to(place.secret)

    return change


INPUTS = np.ones((20, 4), np.float32)

NUMPY = [
    Attack("a pickle in an .npz", _file("x.npz", lambda place: _zip(x=_npy(INPUTS), y=_pickled(place)),
           _inspect("npz", "x.npz")), "never loaded"),
    Attack("a pickle as inputs", _file("x.npz", lambda place: _zip(x=_pickled(place)), _inspect("npz", "x.npz")),
           "never loaded"),
    Attack("a pickle in an .npy", _file("x.npy", _pickled, _inspect("npz", "x.npy")), "never loaded"),
    Attack("a pickle called .npz", _file("x.npz", lambda place: pickle.dumps(Executed(place.canary)),
           _inspect("npz", "x.npz")), "neither"),
    Attack("a pickle of sequences", _file("x.npz", lambda place: _zip(x=_pickled(place)), _inspect("sequences",
           "x.npz")),
           "never loaded"),
    Attack("a pickle of a series", _file("x.npy", _pickled, _inspect("forecast", "x.npy")), "never loaded"),
    Attack("a pickle to predict", _predict("in.npy", _pickled), "never loaded"),
    Attack("a pickle in an archive to predict", _predict("in.npz", lambda place: _zip(x=_pickled(place))),
           "never loaded"),
    Attack("a zip bomb by its directory", _file("x.npz", lambda place: _promising(_zip(x=_npy(INPUTS)), 0xFFFFFFF0),
           _inspect("npz", "x.npz")), "x.npz"),
    Attack("many zip bombs", _file("x.npz",
           lambda place: _promising(_zip(**{f"x{at}": _npy(INPUTS) for at in range(99)}),
           0xFFFFFFF0), _inspect("npz", "x.npz")), "of memory"),
    Attack("many zip bombs of sequences", _file("x.npz", lambda place: _promising(
           _zip(**{f"x{at}": _npy(INPUTS) for at in range(99)}), 0xFFFFFFF0), _inspect("sequences", "x.npz")),
           "of memory"),
    Attack("zip bombs to predict", _predict("in.npz", lambda place: _promising(
           _zip(**{f"x{at}": _npy(INPUTS) for at in range(98)}, x=_npy(INPUTS)), 0xFFFFFFF0)), "of memory"),
    Attack("an .npy that claims terabytes", _file("x.npy", lambda place: _claims((MANY,)), _inspect("npz", "x.npy")),
           "x.npy"),
    Attack("an .npz that claims terabytes", _file("x.npz", lambda place: _zip(x=_claims((MANY,))),
           _inspect("npz", "x.npz")), "x.npz"),
    Attack("an .npy to predict that claims terabytes", _predict("in.npy", lambda place: _claims((MANY,))), "in.npy"),
    Attack("an .npy with a negative shape", _file("x.npy", lambda place: _claims((-1, 4)), _inspect("npz", "x.npy")),
           "x.npy"),
    Attack("an .npz with a path in a name", _file("x.npz", lambda place: _zip(**{"../../outside/x": _npy(INPUTS)}),
           _inspect("npz", "x.npz")), "data.inputs"),
    Attack("an array that is a pipe", _pipe("x.npy", _inspect("npz", "x.npy")), "x.npy"),
    Attack("an archive that is a pipe", _pipe("x.npz", _inspect("npz", "x.npz")), "x.npz"),
    Attack("a folder of arrays with a link", lambda place: (
        (place.came / "inputs.npy").symlink_to(place.secret), _inspect("npz"))[1], "link"),
]  # fmt: skip

IDX = b"\0\0\x08\x03" + struct.pack(">III", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def _idx(name: str, content: bytes) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        from support import write_idx

        write_idx(place.came)
        plain = place.came / name.removesuffix(".gz")
        plain.unlink(missing_ok=True)
        (place.came / name).write_bytes(content)
        return _inspect("idx")

    return make


FILES = [
    Attack("an IDX file without end", _idx("train-images-idx3-ubyte", IDX), "truncated"),
    Attack("a gzipped IDX file without end", _idx("train-images-idx3-ubyte.gz", gzip.compress(IDX)), "truncated"),
    Attack("a gzip bomb as text", _file("x.txt.gz", lambda place: _letters(), _inspect("text", "x.txt.gz")),
           "of memory"),
    Attack("a gzip bomb as bytes", _file("x.txt.gz", lambda place: _bomb(), _inspect("text", "x.txt.gz",
           level="bytes")),
           "of memory"),
    Attack("a gzip bomb of lines", _file("x.jsonl.gz", lambda place: _letters(),
           _inspect("text_classification", "x.jsonl.gz")), "x.jsonl.gz"),
    Attack("a gzip bomb as a table", _file("x.csv.gz", lambda place: _letters(), _inspect("csv", "x.csv.gz")),
           "x.csv.gz"),
    Attack("a gzip bomb of pairs", _file("x.tsv.gz", lambda place: _letters(), _inspect("pairs", "x.tsv.gz")),
           "x.tsv.gz"),
    Attack("a table that is a pipe", _pipe("x.csv", _inspect("csv", "x.csv")), "x.csv"),
    Attack("a text that is a pipe", _pipe("x.txt", _inspect("text", "x.txt")), "x.txt"),
    Attack("a text that never ends", lambda place: _inspect("text", "../../../../../../../../dev/zero"), "dev/zero"),
    Attack("JSON lines nested without end", _file("x.jsonl", lambda place: b"[" * 200_000,
           _inspect("text_classification", "x.jsonl")), "line 1"),
    Attack("a Parquet file of anything", _file("x.parquet", lambda place: b"PAR1" + b"\xff" * 64 + b"PAR1",
           _inspect("parquet", "x.parquet")), "x.parquet"),
    Attack("records of anything", _file("x.array_record", lambda place: b"\xff" * 4096, _inspect("array_record")),
           "x.array_record"),
    Attack("series of no end", _file("x.ts", lambda place: b"@classLabel true a\n@data\n" + b"1," * 50 + b"x:a\n",
           _inspect("sequences", "x.ts")), "x.ts"),
]  # fmt: skip

PICTURES = [
    Attack("a picture of 10 gigapixels", _pictures(lambda came, place: _raw(came, _png(100_000, 100_000))), "pixels"),
    Attack("a picture of no size", _pictures(lambda came, place: _raw(came, _png(0, 5))), "0.png"),
    Attack("a picture that is a program", _pictures(lambda came, place: _raw(came, _eps(place))), "no picture"),
    Attack("a picture that is a link", _pictures(_secret_picture), "link"),
    Attack("a picture that is a pipe", _pictures(lambda came, place: os.mkfifo(came / "cat" / "9.png")), "9.png"),
    Attack("a folder of pictures that is a link", _pictures(
        lambda came, place: (came / "cow").symlink_to(place.outside)), "link"),
    Attack("labels that are a link", _pictures(
        lambda came, place: (came / "labels.csv").symlink_to(place.secret), labels="labels.csv"),
           "link"),
    Attack("a picture to predict that is a program", _predict("in.png", _eps), "in.png"),
    Attack("a picture to predict of 10 gigapixels", _predict("in.png", lambda place: _png(100_000, 100_000)), "in.png"),
    Attack("a sound with an endless header", _file("a/x.wav", lambda place: _wav(0xFFFFFFF0), _inspect("audio_folder")),
           "x.wav"),
]  # fmt: skip


def _raw(came: Path, content: bytes) -> None:
    (came / "cat" / "0.png").write_bytes(content)


ARROW = [
    Attack("an Arrow shard from elsewhere", _arrow(lambda came, place: _stated("train/state.json", _data_files=[
        {"filename": "../../../outside/private/" + next((place.outside / "private").glob("*.arrow")).name}])(came,
        place)),
        "train/state.json"),
    Attack("an Arrow shard by a full path", _arrow(lambda came, place: _stated("train/state.json", _data_files=[
        {"filename": str(next((place.outside / "private").glob("*.arrow")))}])(came, place)), "train/state.json"),
    Attack("a split from elsewhere", _arrow(_stated("dataset_dict.json", splits=["train", "../../outside/private"])),
           "dataset_dict.json"),
    Attack("an Arrow shard that is a link", _arrow(_linked_shard), "link"),
    Attack("an unknown kind of column", _arrow(_stated("train/dataset_info.json", features={
        "x": {"dtype": "float64", "_type": "os.system"}})), "came"),
    Attack("a description that is deep", _arrow(lambda came, place: _write(came / "train" / "state.json",
           "[" * 100_000)),
           "state.json"),
]  # fmt: skip

TOKENIZERS = [
    Attack("a tokenizer of no JSON", _tokenizer_file("evil"), "tokenizer.json"),
    Attack("a tokenizer nested without end", _tokenizer_file("[" * 200_000), "tokenizer.json"),
    Attack("a tokenizer of an unknown kind", _tokenizer_file(json.dumps(_tokenizer(model={"type": "os.system"}))),
           "tokenizer.json"),
    Attack("a tokenizer that is a link", _tokens(_link("tokenizer.json")), "link"),
    Attack("tokens that are a link", _tokens(_link("tokens.npy")), "link"),
    Attack("tokens that are pickles", _tokens(lambda came, place: _pickle(came / "tokens.npy", place)), "tokens.npy"),
    Attack("a token of a billion", _tokenizer_file(json.dumps(_tokenizer(model={"vocab": {"a": 0,
           "b": 4_000_000_000}}))),
           "tokenizer.json"),
]  # fmt: skip


def _pickle(path: Path, place: Place) -> None:
    path.write_bytes(_pickled(place))


DATA = [*NUMPY, *FILES, *PICTURES, *ARROW, *TOKENIZERS]
