"""New identifiers."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """Return a UUID version 7: unique everywhere, sortable by the millisecond it was made in."""
    return UUID(int=uuid_utils.uuid7().int)
