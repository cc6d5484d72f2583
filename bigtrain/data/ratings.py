"""Ratings of items by users: a table of which three columns count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.config.values import NonNegativeInt, Share
from bigtrain.data.spec import Dataset
from bigtrain.data.table import plain_format
from bigtrain.data.table_columns import Table
from bigtrain.data.table_files import Delimiter, Format, open_text
from bigtrain.data.table_parquet import open_parquet
from bigtrain.data.table_reader import PARQUET
from bigtrain.data.table_set import Choice, assembled, column_named

NAMES = {
    "user": ("user", "userid", "user_id", "user-id"),
    "item": ("item", "itemid", "item_id", "movie", "movieid", "movie_id", "product", "productid", "product_id", "isbn"),
    "rating": ("rating", "ratings", "score", "stars", "book-rating"),
}


def ratings(
    *,
    path: str | None = None,
    user: str | int | None = None,
    item: str | int | None = None,
    rating: str | int | None = None,
    time: str | int | None = None,
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: Delimiter = "auto",
    encoding: str = "utf-8",
    skip: NonNegativeInt = 0,
    validation: Share = 0.1,
    test: Share = 0.1,
) -> Dataset:
    """Your own ratings: a row has a user, an item and a number, as in MovieLens' u.data, ratings.dat and ratings.csv.

    Users and items are whatever ids the file has. One that has no training row is unknown to the model, which then
    goes by the mean of those it knows. Other columns are not looked at.

    Args:
        path: a CSV (plain or .gz) or Parquet file.
        user: the column of users, by name or position; user, userId … by default, else the first.
        item: the column of items; item, itemId, movieId … by default, else the second.
        rating: the column of ratings; rating, score … by default, else the third.
        time: the column of times, as numbers. With it the newest ratings are held out, without it random ones.
        header: whether row 1 names the columns.
        delimiter: what stands between values; `auto` looks, also for `::`.
        encoding: how the file is encoded.
        skip: lines before the ratings begin.
        validation: the share of the ratings held out for validation.
        test: the share held out for testing.

    Returns:
        `inputs`, int32 [2], user and item as categories; `targets`, the rating.
    """
    if path is None:
        hint = "for example: bigtrain fit data=ratings data.path=ratings.csv model=factorization"
        raise ConfigError("data.path", "no file is given", hint=hint)
    where = Path(path).expanduser()
    form = Format(delimiter, header, "point", encoding, skip)
    table: Table
    if where.suffix.lower() in PARQUET:
        table, form = open_parquet(where), Format(header="yes")
    else:
        table = open_text(where, form)
        form = table.format
    given = {"user": user, "item": item, "rating": rating}
    _check_header(form, table, given)
    columns = {role: _column(role, at, given[role], table) for at, role in enumerate(NAMES)}
    if len(set(columns.values())) < len(columns):
        both = ", ".join(f"{role} {name!r}" for role, name in columns.items())
        raise ConfigError("data", f"one column has two meanings: {both}", hint="set data.user, data.item, data.rating")
    when = None if time is None else column_named("data.time", time, table.names)
    used = (columns["user"], columns["item"])
    choice = Choice(columns["rating"], "real", used, (), validation, test, columns=used, newest=when)
    made = assembled(choice, {"train": table}, {"format": plain_format(form)})
    if len(made.spec.inputs.sizes) < len(used):
        raise DataError(where, "all its ratings are of one user or of one item", hint="set data.user and data.item")
    return made


def _column(role: str, at: int, given: str | int | None, table: Table) -> str:
    """The column of a role: the one that the user names, one of a usual name, or the one of its usual place."""
    if given is not None:
        return column_named(f"data.{role}", given, table.names)
    found = _named(role, table)
    return found[0] if len(found) == 1 else column_named(f"data.{role}", at, table.names)


def _named(role: str, table: Table) -> list[str]:
    """The columns with a usual name of a role."""
    return [name for name in table.names if name.lower() in NAMES[role]]


def _check_header(form: Format, table: Table, given: Mapping[str, str | int | None]) -> None:
    """Refuses a header that names none of the three: its first columns would be taken for them."""
    if form.header == "yes" and not any(_named(role, table) or given[role] is not None for role in NAMES):
        hint = "say which they are: data.user=… data.item=… data.rating=…"
        raise ConfigError("data", "no column is called user, item or rating", allowed=table.names, hint=hint)
