"""Backup sets and what was captured into them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, Uuid, any_, bindparam, case, cast, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.backups import CaptureWarning, Quality
from shared.keys.envelope import TenantCipher
from shared.persistence.arrays import unnested
from shared.persistence.tables import JSONB, backup_items, backup_sets, policies, snapshots
from shared.persistence.vault import Keys, NoKeys
from shared.ports import BackupItem, BackupSet, NewBackupItem
from shared.runtime.ids import new_id

_UUID = Uuid()
_ITEM_COLUMNS = [column for column in backup_items.c if column.name != "tenant_id"]


@dataclass(frozen=True, slots=True)
class SetTotals:
    """What a set holds. Items by quality; bytes of stored content, new since the set was begun or there before."""

    items: int
    full: int
    degraded: int
    metadata_only: int
    bytes_stored: int
    bytes_reused: int


class SqlBackups:
    """Backup sets of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def create_set(self, set_id: UUID, *, name: str, created_by: str) -> None:
        """Create an empty, uncompleted set; a second time changes nothing."""
        row = {"tenant_id": self._tenant_id, "id": set_id, "name": name, "created_by": created_by}
        await self._connection.execute(insert(backup_sets).values(row).on_conflict_do_nothing())

    async def create_imported(
        self, set_id: UUID, *, name: str, created_by: str, source_tenant: str, archive_sha256: str
    ) -> UUID:
        """Create an empty, uncompleted set, or find the one of the same archive and name; return its id."""
        key = {"tenant_id": self._tenant_id, "archive_sha256": archive_sha256, "name": name}
        row = {**key, "id": set_id, "created_by": created_by, "source_tenant": source_tenant}
        statement = insert(backup_sets).values(row).on_conflict_do_nothing(index_elements=list(key))
        await self._connection.execute(statement)
        found = await self.imported(name=name, archive_sha256=archive_sha256)
        return found.id if found else set_id

    async def imported(self, *, name: str, archive_sha256: str) -> BackupSet | None:
        """Return the set that was made of this archive under this name."""
        same = (backup_sets.c.archive_sha256 == archive_sha256) & (backup_sets.c.name == name)
        found = await self._sets(self._select_sets().where(same))
        return found[0] if found else None

    async def complete(self, set_id: UUID) -> bool:
        """Say that the set holds all that its run could capture; True the first time, which counts."""
        statement = (
            update(backup_sets)
            .where(backup_sets.c.tenant_id == self._tenant_id, backup_sets.c.id == set_id)
            .where(backup_sets.c.completed_at.is_(None))
            .values(completed_at=func.clock_timestamp())
            .returning(backup_sets.c.id)
        )
        return await self._connection.scalar(statement) is not None

    async def get_set(self, set_id: UUID) -> BackupSet | None:
        """Return the set, if it is this tenant's."""
        found = await self._sets(self._select_sets().where(backup_sets.c.id == set_id))
        return found[0] if found else None

    async def page_sets(self, *, before: UUID | None = None, limit: int = 50) -> list[BackupSet]:
        """Return sets, newest first; `before` is the last id of the page before."""
        newest_first = (backup_sets.c.created_at, backup_sets.c.id)
        statement = self._select_sets().order_by(*(column.desc() for column in newest_first)).limit(limit)
        if before is not None:
            last = select(*newest_first).where(backup_sets.c.tenant_id == self._tenant_id, backup_sets.c.id == before)
            statement = statement.where(tuple_(*newest_first) < last.scalar_subquery())
        return await self._sets(statement)

    async def add_items(self, set_id: UUID, items: Sequence[NewBackupItem]) -> int:
        """Put captured objects into a set; one that is in it already stays as it is. Return how many are new."""
        if not items:
            return 0
        cipher = await self._keys.cipher()
        given = unnested(
            "given",
            {
                "id": (_UUID, [new_id() for _ in items]),
                "policy_id": (_UUID, [item.policy_id for item in items]),
                "policy_type": (Text(), [item.policy_type for item in items]),
                "remote_id": (Text(), [item.remote_id for item in items]),
                "display_name": (Text(), [item.display_name for item in items]),
                "natural_key": (Text(), [item.natural_key for item in items]),
                "snapshot_sha256": (Text(), [cipher.veil(item.snapshot_sha256) for item in items]),
                "fingerprint": (Text(), [cipher.veil(item.fingerprint) for item in items]),
                "quality": (Text(), [item.quality.value for item in items]),
                "warnings": (Text(), [json.dumps(item.warnings) for item in items]),
            },
        )
        *plain, warnings = given.c
        source = select(literal(self._tenant_id, _UUID), literal(set_id, _UUID), *plain, cast(warnings, JSONB))
        statement = (
            insert(backup_items)
            .from_select(["tenant_id", "backup_set_id", *given.c.keys()], source)
            .on_conflict_do_nothing(index_elements=["tenant_id", "backup_set_id", "policy_type", "remote_id"])
            .returning(backup_items.c.id)
        )
        return len((await self._connection.scalars(statement)).all())

    async def items(self, set_id: UUID, *, after: UUID | None = None, limit: int = 50) -> list[BackupItem]:
        """Return the set's items by id after `after` (the last id of the page before)."""
        statement = self._select_items().where(backup_items.c.backup_set_id == set_id, ~backup_items.c.absent)
        if after is not None:
            statement = statement.where(backup_items.c.id > after)
        return await self._items(statement.order_by(backup_items.c.id).limit(limit))

    async def types(self, set_id: UUID) -> list[tuple[str, int]]:
        """Count the set's items by policy type, in the order of the types' names."""
        mine = (backup_items.c.tenant_id == self._tenant_id) & (backup_items.c.backup_set_id == set_id)
        kind = backup_items.c.policy_type
        counted = select(kind, func.count()).where(mine, ~backup_items.c.absent).group_by(kind).order_by(kind)
        return [(row[0], row[1]) for row in await self._connection.execute(counted)]

    async def items_by_ids(self, ids: Sequence[UUID]) -> list[BackupItem]:
        """Return those of the ids that are this tenant's, in any order; what an execution left of them unveiled."""
        found = await self._items(self._select_items().where(backup_items.c.id == _any_of(ids)))
        if not any(item.left_fingerprint for item in found):
            return found
        cipher = await self._keys.cipher()
        return [_left(cipher, item) for item in found]

    async def policies_in_set(self, set_id: UUID, policy_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return those of the policies whose object is in the set already."""
        statement = (
            select(policies.c.id)
            .join(
                backup_items,
                (backup_items.c.tenant_id == policies.c.tenant_id)
                & (backup_items.c.policy_type == policies.c.policy_type)
                & (backup_items.c.remote_id == policies.c.remote_id),
            )
            .where(policies.c.tenant_id == self._tenant_id, policies.c.id == _any_of(policy_ids))
            .where(backup_items.c.backup_set_id == set_id)
        )
        return frozenset((await self._connection.scalars(statement)).all())

    def items_of_set(self, set_id: UUID, phases: Mapping[str, int]) -> Select[Any]:
        """Select work item rows for everything in a set, foundations first (`ledger.expand_from`)."""
        items = backup_items.c
        phase = case(dict(phases), value=items.policy_type, else_=max(phases.values(), default=0))
        order = (phase, items.policy_type, items.display_name, items.id)
        return select(
            (func.row_number().over(order_by=order) - 1).label("ordinal"),
            items.id.label("item_id"),
            phase.label("phase"),
            items.display_name.label("label"),
            items.policy_type.label("policy_type"),
        ).where(items.tenant_id == self._tenant_id, items.backup_set_id == set_id, ~items.absent)

    async def totals(self, set_id: UUID) -> SetTotals:
        """Count what the set holds."""
        items = backup_items.c
        in_set = (items.tenant_id == self._tenant_id) & (items.backup_set_id == set_id)
        by_quality = select(items.quality, func.count()).where(in_set).group_by(items.quality)
        counts = {row[0]: row[1] for row in await self._connection.execute(by_quality)}
        begun = (
            select(backup_sets.c.created_at)
            .where(backup_sets.c.tenant_id == self._tenant_id, backup_sets.c.id == set_id)
            .scalar_subquery()
        )
        size = func.octet_length(snapshots.c.content)
        is_new = snapshots.c.created_at >= begun
        hashes = select(items.snapshot_sha256).where(in_set)
        stored, reused = (
            await self._connection.execute(
                select(
                    func.coalesce(func.sum(size).filter(is_new), 0),
                    func.coalesce(func.sum(size).filter(~is_new), 0),
                ).where(snapshots.c.tenant_id == self._tenant_id, snapshots.c.sha256.in_(hashes))
            )
        ).one()
        by = {quality: counts.get(quality.value, 0) for quality in Quality}
        return SetTotals(
            sum(by.values()), by[Quality.FULL], by[Quality.DEGRADED], by[Quality.METADATA_ONLY], stored, reused
        )

    def _select_sets(self) -> Select[Any]:
        items = backup_items.c
        of_set = (items.tenant_id == backup_sets.c.tenant_id) & (items.backup_set_id == backup_sets.c.id)
        count = select(func.count()).where(of_set, ~items.absent)
        return select(
            *(column for column in backup_sets.c if column.name != "tenant_id"),
            count.scalar_subquery().label("items"),
            count.where(items.quality != Quality.FULL.value).scalar_subquery().label("degraded"),
        ).where(backup_sets.c.tenant_id == self._tenant_id)

    def _select_items(self) -> Select[Any]:
        return select(*_ITEM_COLUMNS).where(backup_items.c.tenant_id == self._tenant_id)

    async def _sets(self, statement: Select[Any]) -> list[BackupSet]:
        return [BackupSet(**row) for row in (await self._connection.execute(statement)).mappings()]

    async def _items(self, statement: Select[Any]) -> list[BackupItem]:
        return [_item(row) for row in (await self._connection.execute(statement)).mappings()]


def _item(row: Mapping[Any, Any]) -> BackupItem:
    quality = Quality(row["quality"])
    warnings = tuple(CaptureWarning(word) for word in row["warnings"])
    return BackupItem(**{**row, "quality": quality, "warnings": warnings})


def _left(cipher: TenantCipher, item: BackupItem) -> BackupItem:
    left, assigned = item.left_fingerprint, item.left_assignments_fingerprint
    return replace(
        item,
        left_fingerprint=cipher.unveil(left) if left else None,
        left_assignments_fingerprint=cipher.unveil(assigned) if assigned else None,
    )


def _any_of(ids: Sequence[UUID]) -> Any:  # noqa: ANN401  the operand of a comparison
    return any_(cast(bindparam("ids", list(ids)), ARRAY(_UUID)))
