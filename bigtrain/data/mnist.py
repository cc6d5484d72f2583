"""MNIST and Fashion-MNIST: 70,000 grey images of 28×28 in 10 classes, from a folder, the cache, or the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bigtrain.config.values import Share
from bigtrain.data.download import Remote, cache, fetch
from bigtrain.data.idx import read_folder
from bigtrain.data.spec import Dataset

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
LIMIT = 64 << 20  # bytes; the largest file has 26.4 MB

# MD5 as published with torchvision (torchvision/datasets/mnist.py)
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def mnist(
    *,
    dir: str | None = None,
    validation: Share = 5000,
    url: str = "https://storage.googleapis.com/cvdf-datasets/mnist/",
) -> Dataset:
    """MNIST, 60,000 + 10,000 handwritten digits of 28×28; fetched once unless `data.dir` has it.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.

    Args:
        dir: a folder with the four IDX files; without it they are looked for in the cache and fetched.
        validation: the share of the training examples held out for validation.
        url: the folder on the web that the files are fetched from.

    Returns:
        `inputs` uint8 [28, 28], scaled to 0 to 1, and `targets`, the digit.
    """
    folder = _folder("mnist", dir, (), url, MNIST_FILES)
    return read_folder("mnist", folder, validation, classes=DIGITS)


def fashion_mnist(
    *,
    dir: str | None = None,
    validation: Share = 5000,
    url: str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
) -> Dataset:
    """Fashion-MNIST, 60,000 + 10,000 garments of 28×28 in 10 classes; fetched once unless `data.dir` has it.

    Source: Xiao, Rasul & Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017, https://arxiv.org/abs/1708.07747 (MIT licence).

    Args:
        dir: a folder with the four IDX files; without it they are looked for in the cache and where Debian's package
            dataset-fashion-mnist puts them, and fetched.
        validation: the share of the training examples held out for validation.
        url: the folder on the web that the files are fetched from.

    Returns:
        `inputs` uint8 [28, 28], scaled to 0 to 1, and `targets`, the kind of garment.
    """
    folder = _folder("fashion_mnist", dir, (DEBIAN_FASHION,), url, FASHION_FILES)
    return read_folder("fashion_mnist", folder, validation, classes=GARMENTS)


def _folder(name: str, given: str | None, usual: Sequence[Path], url: str, files: Mapping[str, str]) -> Path:
    """Where the files are: the folder given, a usual place, or the cache, which is filled if it has to be."""
    if given is not None:
        return Path(given).expanduser()
    for place in usual:
        if all((place / file).is_file() for file in files):
            return place
    for file, checksum in files.items():
        plain = cache(name) / file.removesuffix(".gz")
        if not plain.is_file():  # unpacked by hand
            fetch(Remote(f"{url.rstrip('/')}/{file}", checksum, LIMIT), cache(name) / file)
    return cache(name)
