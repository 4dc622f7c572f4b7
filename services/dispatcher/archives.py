"""Handing an archive on, piece by piece."""

from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote
from uuid import UUID

from services.dispatcher.ports import DispatcherUnitOfWork
from shared.persistence.archives import archive_content
from shared.ports import ArchiveInfo


def open_archive(uow: DispatcherUnitOfWork, tenant_id: UUID, archive: ArchiveInfo) -> AsyncIterator[bytes]:
    """Yield the file; raises when what was read is not what was written, which breaks the transfer off."""
    return archive_content(partial(uow.begin, tenant_id), archive)


def content_disposition(name: str) -> str:
    """Name the file for a browser, whatever characters are in the name (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
