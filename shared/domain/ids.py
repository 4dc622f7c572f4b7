"""Names for the identifiers that cross rooms, so that a type checker tells them apart.

All of them are UUID version 7 where Reinstate makes them (`shared.runtime.ids.new_id`): sortable by time.
"""

from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
UserId = NewType("UserId", UUID)
RunId = NewType("RunId", UUID)
ItemId = NewType("ItemId", UUID)  # the internal record an item works on: a policy, a backup item
BackupSetId = NewType("BackupSetId", UUID)
MessageId = NewType("MessageId", UUID)
