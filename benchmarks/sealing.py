"""What sealing costs a capture: the same policies stored sealed and in clear, by turns, within one run.

`python -m benchmarks.sealing [ROUNDS]`. Nothing is read from a tenant, which takes longer than everything here: so the
ratio is the most that a capture can feel. The clear side differs in nothing but the arithmetic.
"""

import asyncio
import base64
import json
import secrets
import sys
import time
from dataclasses import replace
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack import start_stack
from services.bulk_worker.capturing import Capture, capture
from shared.connectors.port import PolicyRef, RemotePolicy
from shared.keys.envelope import MOST_USES, OVERHEAD, Sealer, TenantCipher
from shared.keys.ring import KeyRing, LocalWrapper
from shared.persistence.database import create_engine
from shared.persistence.migrate import upgrade
from shared.persistence.tables import tenants
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.vault import Vault
from shared.runtime.ids import new_id
from simulator import sample

_ROUNDS = 15
_BATCH = 100  # policies of one transaction
_BATCHES = 10
_PAYLOADS = [raw for folder, raw in sample.exported() if folder == "DeviceConfiguration" or "settings" in raw]


class _Clear(TenantCipher):
    """Pads as long as sealing would, and calculates nothing."""

    __slots__ = ()

    def seal(self, *given: Any) -> bytes:
        return bytes(OVERHEAD) + bytes(given[-1])

    def veil(self, digest: str) -> str:
        return base64.urlsafe_b64encode(bytes.fromhex(digest) + bytes(16)).decode()


class _ClearVault(Vault):
    """Opens the keys as ever, and hands out what does not use them."""

    async def cipher(self, tenant_id: UUID, sealed: Any) -> TenantCipher:
        cipher = await super().cipher(tenant_id, sealed)
        cipher.__class__ = _Clear
        return cipher

    async def sealer(self, tenant_id: UUID, uses: int) -> Sealer:
        sealer = await super().sealer(tenant_id, uses)
        sealer.cipher.__class__ = _Clear
        return sealer


async def main(rounds: int) -> dict[str, Any]:
    """Measure; return medians and their ratio."""
    with start_stack() as stack:
        url = stack.database_named("sealing")
        await upgrade(url)
        engine = create_engine(url, service="bench", pool_size=4)
        try:
            return await _measured(engine, rounds)
        finally:
            await engine.dispose()


async def _measured(engine: AsyncEngine, rounds: int) -> dict[str, Any]:
    ring = KeyRing("bench", {"bench": LocalWrapper(secrets.token_bytes(32))})
    sides = {"sealed": Vault(engine, ring, most_uses=MOST_USES), "clear": _ClearVault(engine, ring)}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    size = 0
    for number in range(rounds + 1):  # the first one warms up
        for name, vault in sides.items() if number % 2 else reversed(sides.items()):
            tenant_id = await _tenant(engine)
            await vault.of(tenant_id).sealer(1)
            size, wall, processor = await _captured(SqlUnitOfWork(engine, service="bench", vault=vault), tenant_id)
            if number:
                taken[name].append((wall, processor))
    policies = _BATCH * _BATCHES
    medians = {
        name: [median(column) / policies * 1e6 for column in zip(*found, strict=True)] for name, found in taken.items()
    }
    ratios = [median(s[i] / c[i] for s, c in zip(taken["sealed"], taken["clear"], strict=True)) for i in (0, 1)]
    return {
        "policies": policies,
        "rounds": rounds,
        "bytes_of_a_policy": round(size / policies),
        "us_per_policy": {name: {"wall": round(w, 1), "processor": round(p, 1)} for name, (w, p) in medians.items()},
        "sealed_to_clear": {"wall": round(ratios[0], 3), "processor": round(ratios[1], 3)},
    }


async def _tenant(engine: AsyncEngine) -> UUID:
    tenant_id = new_id()
    row = {"id": tenant_id, "external_id": str(tenant_id), "name": "Bench", "connector": "graph"}
    async with engine.begin() as connection:
        await connection.execute(insert(tenants).values(row))
    return tenant_id


async def _captured(uow: SqlUnitOfWork, tenant_id: UUID) -> tuple[int, float, float]:
    """Encode and store, as an operation does; return bytes, and seconds of wall and of this process."""
    set_id, size = new_id(), 0
    async with uow.begin(tenant_id) as tx:
        await tx.backups.create_set(set_id, name="Bench", created_by="Bench")
    wall, processor = time.perf_counter(), time.process_time()
    for batch in range(_BATCHES):
        captures = [_capture(batch * _BATCH + number) for number in range(_BATCH)]
        size += sum(one.snapshot.raw_bytes for one in captures)
        async with uow.begin(tenant_id) as tx:
            await tx.snapshots.put_many([one.snapshot for one in captures])
            await tx.backups.add_items(set_id, [one.item for one in captures])
    return size, time.perf_counter() - wall, time.process_time() - processor


def _capture(number: int) -> Capture:
    payload = {**_PAYLOADS[number % len(_PAYLOADS)], "id": str(new_id()), "number": secrets.token_hex(8)}
    ref = PolicyRef("deviceConfiguration", str(number), f"Policy {number}", f'["Policy {number}"]')
    one = capture(new_id(), RemotePolicy(ref, payload))
    return Capture(one.policy_id, one.snapshot, replace(one.item, policy_id=None))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else _ROUNDS)), indent=2))
