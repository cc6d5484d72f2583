"""Images in folders: a class a folder, or labels from a CSV file, of any sizes and kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from bigtrain.config.errors import ConfigError
from bigtrain.config.values import PositiveInt, Share
from bigtrain.data.arrays import Arrays, dataset
from bigtrain.data.decoded import kept, looked_at
from bigtrain.data.folders import Labels, find
from bigtrain.data.pictures import MOST_SIDE, SUFFIXES, Fit, Frame, Header, header
from bigtrain.data.spec import Dataset

LOOKED_AT = 20_000  # files of which the header is read at the start; of more, so many spread over the set
AUTO_MOST = 512  # a greater side is not chosen for a person


def image_folder(
    *,
    path: str | None = None,
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
    fit: Fit = "crop",
    channels: Literal["auto", 1, 3] = "auto",
    labels: str | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    target_kind: Literal["auto", "label", "real"] = "auto",
    broken: Literal["refuse", "skip"] = "refuse",
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your images in a folder: a class a folder (cat/1.jpg), below train/ and test/ if you like, or a labels CSV.

    What fits in 512 MB is decoded once, at the start; larger sets are decoded as they are read (data_workers=2 puts
    that into processes of its own).

    Args:
        path: the folder; folders called train, validation (valid, val) and test in it are splits.
        size: the side of the square that every image is made into, or [height, width]; not needed if all are alike.
        fit: how an image of another shape gets there: crop its middle, stretch it, or pad it with black.
        channels: 1 for grey, 3 for colour; auto is 1 if no image has colour. Transparent parts become white.
        labels: a CSV file with file names and labels, in the folder or as a path; none trains without labels.
        file_column: the column of the labels file that names the files, by name or position; found by itself.
        label_column: the column that holds the label, by name or position; found by itself if it is called label or
            class, or is the only one.
        target_kind: what the labels of the file are. auto: numbers with fractions are real, all else are classes.
        broken: refuse files that can't be decoded, or skip them (then the whole set is decoded at the start).
        validation: the share held out for validation, where there is no such folder.
        test: the share held out for testing, where there is no such folder.

    Returns:
        `inputs`, bytes [height, width] or [height, width, 3], and `targets` where there are labels.
    """
    if path is None:
        hint = "for example: bigtrain fit data=image_folder data.path=photos data.size=64"
        raise ConfigError("data.path", "no folder is given", hint=hint)
    root = Path(path).expanduser()
    found = find(root, "images", SUFFIXES, Labels(labels, file_column, label_column, target_kind))
    number, skip = len(found.paths), broken == "skip"
    chosen = np.unique(np.linspace(0, number - 1, min(number, LOOKED_AT)).astype(np.int64)).tolist()
    found, headers = looked_at(found, header, chosen, "images", skip=skip)
    frame = frame_of(root, headers, size, fit, channels)
    found, column, _ = kept(found, frame, "images", skip=skip)
    columns, fields = found.columns(column), found.fields(frame.field)
    splits = {split: Arrays(columns, rows) for split, rows in found.held_out(validation, test).items()}
    name = root.resolve().name
    return dataset(name, fields, splits, classes=found.classes, reader=frame.reader, notes=found.notes)


def frame_of(
    root: Path, headers: list[Header], size: int | tuple[int, int] | None, fit: Fit, channels: Literal["auto", 1, 3]
) -> Frame:
    """What the images are made into: as asked, or as they all are."""
    if size is None:
        sizes = {(one.height, one.width) for one in headers}
        if len(sizes) > 1 or max(max(sizes)) > AUTO_MOST:
            least, most = (f"{one[0]}x{one[1]}" for one in (min(sizes), max(sizes)))
            have = f"images from {least} to {most}" if len(sizes) > 1 else f"images of {least}"
            raise ConfigError("data.size", f"{root} has {have} (height x width)", hint="choose one: data.size=64")
        height, width = next(iter(sizes))
    else:
        height, width = (size, size) if isinstance(size, int) else size
    if max(height, width) > MOST_SIDE:
        raise ConfigError("data.size", f"{max(height, width)} is too large", allowed=f"1 to {MOST_SIDE}")
    colours = 3 if any(one.colour for one in headers) else 1
    return Frame(height, width, colours if channels == "auto" else channels, fit)
