"""Many rows in one statement: columns sent as arrays, one bind parameter each however many rows there are."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import TableValuedAlias, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text, TypeEngine


def unnested(name: str, columns: Mapping[str, tuple[TypeEngine[Any], Sequence[Any]]]) -> TableValuedAlias:
    """Return a table `name` with one row for each position of the given columns, all of the same length."""
    arrays = [
        cast(bindparam(f"{name}_{key}", _storable(of_type, data), type_=ARRAY(of_type)), ARRAY(of_type))
        for key, (of_type, data) in columns.items()
    ]
    typed = [column(key, of_type) for key, (of_type, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*typed, name=name).render_derived()


def _storable(of_type: TypeEngine[Any], data: Sequence[Any]) -> list[Any]:
    """Replace what PostgreSQL refuses in a text: one strange name of a tenant must not stop everybody else's rows."""
    if not isinstance(of_type, Text):
        return list(data)
    return [text and text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}") for text in data]
