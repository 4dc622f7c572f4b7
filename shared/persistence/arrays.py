"""Many rows in one statement: columns sent as arrays, one bind parameter each however many rows there are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Label,
    Select,
    TableValuedAlias,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text, TypeEngine

ONE: ColumnElement[int] = literal_column("1")  # a LIMIT that the planner sees

Types: TypeAlias = Mapping[str, TypeEngine[Any]]  # of each column


def unnested(name: str, columns: Mapping[str, tuple[TypeEngine[Any], Sequence[Any]]]) -> TableValuedAlias:
    """Return a table `name` with one row for each position of the given columns, all of the same length."""
    types = {key: of_type for key, (of_type, _) in columns.items()}
    data = array_values(name, types, {key: data for key, (_, data) in columns.items()})
    return _unnested(name, types, lambda key, of_type: bindparam(key, data[key], type_=of_type))


def array_table(name: str, types: Types) -> TableValuedAlias:
    """Return such a table for a statement that is built once; `array_values` gives what it is executed with."""
    return _unnested(name, types, lambda key, of_type: bindparam(key, type_=of_type))


def array_columns(name: str, types: Types) -> list[Label[Any]]:
    """Return those arrays as they are, as columns to be selected; `array_values` gives the parameters."""
    return [_array(f"{name}_{key}", of_type).label(f"{name}_{key}") for key, of_type in types.items()]


def array_values(name: str, types: Types, data: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the parameters of `array_table(name, types)`."""
    return {f"{name}_{key}": _storable(of_type, data[key]) for key, of_type in types.items()}


def found_for_each(given: TableValuedAlias, one: Select[Any], *beside: ColumnElement[Any]) -> Select[Any]:
    """Look one row up for each row of `given`, by a key; `beside` are columns to be selected with it.

    A plain join could read the table whole, since PostgreSQL does not know how long an array is.
    """
    found = one.limit(ONE).lateral("found")
    return select(found, *beside).select_from(given.join(found, true()))


def _unnested(
    name: str, types: Types, parameter: Callable[[str, TypeEngine[Any]], ColumnElement[Any]]
) -> TableValuedAlias:
    arrays = [cast(parameter(f"{name}_{key}", _many(of_type)), _many(of_type)) for key, of_type in types.items()]
    typed = [column(key, of_type) for key, of_type in types.items()]
    return func.unnest(*arrays).table_valued(*typed, name=name).render_derived()


def _array(name: str, of_type: TypeEngine[Any]) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=_many(of_type)), _many(of_type))


def _many(of_type: TypeEngine[Any]) -> ARRAY[Any]:
    """Of one dimension, and said so: a list of JSON is a value here, not a row of values."""
    return ARRAY(of_type, dimensions=1)


def _storable(of_type: TypeEngine[Any], data: Sequence[Any]) -> list[Any]:
    """Replace what PostgreSQL refuses in a text: one strange name of a tenant must not stop everybody else's rows."""
    if not isinstance(of_type, Text):
        return list(data)
    return [text if not text or _is_plain(text) else _repaired(text) for text in data]


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _repaired(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
