"""Against the simulated Graph: what is captured in one tenant and created in another reads back as the same policy."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.connectors.factory import AllConnectors
from shared.connectors.folder import scan
from shared.connectors.normalise import fingerprint, normalised, normalised_assignments, restorable_body
from shared.connectors.policy_types import all_types, policy_type
from shared.connectors.port import CallTag, RemotePolicy, TenantConnection, TenantReader
from shared.domain.errors import ConflictError, NotFoundError, RunFatalError, SafeCode
from tests.integration.connectors.conftest import World

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "data" / "openintunebaseline"
GOLDEN = ROOT / "tests" / "unit" / "connectors" / "golden"
TAG = CallTag(run_id=uuid4(), item_id=uuid4(), step="write")
EVERYONE = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}
GROUP = "77777777-0000-4000-8000-000000000000"
EXCLUDED = {"target": {"@odata.type": "#microsoft.graph.exclusionGroupAssignmentTarget", "groupId": GROUP}}

needs_real_policies = pytest.mark.skipif(not REAL.is_dir(), reason="the real policies are not beside the repository")


async def everything(reader: TenantReader) -> AsyncIterator[RemotePolicy]:
    for one in all_types():
        async for ref in reader.list_refs(one.key, TAG):
            if (one.key, ref.remote_id) != ("roleScopeTag", "0"):  # built in
                yield await reader.read(one.key, ref.remote_id, TAG)


async def fingerprints(connection: TenantConnection) -> dict[tuple[str, str], str]:
    async with AllConnectors().reader(connection) as reader:
        return {
            (policy.ref.policy_type, policy.ref.natural_key): fingerprint(
                normalised(policy.ref.policy_type, policy.payload)
            )
            async for policy in everything(reader)
        }


async def copy(source: TenantConnection, target: TenantConnection) -> int:
    connectors, created = AllConnectors(), 0
    async with connectors.reader(source) as reader, connectors.writer(target) as writer:
        async for policy in everything(reader):
            key = policy.ref.policy_type
            await writer.create(key, restorable_body(key, policy.payload), TAG)
            created += 1
    return created


def golden(key: str, apps: list[str] | None = None) -> dict[str, Any]:
    """A recorded object; where it names apps, it names these."""
    payload: dict[str, Any] = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))["payload"]
    return payload | ({"targetedMobileApps": apps} if apps and "targetedMobileApps" in payload else {})


async def apps_of(reader: TenantReader) -> list[str]:
    return [ref.remote_id async for ref in reader.list_refs("mobileApp", TAG)]


@needs_real_policies
def test_every_real_export_is_recognised() -> None:
    report = scan(REAL)
    assert report.problems == ()
    assert Counter(policy.ref.policy_type for policy in report.policies) == {
        "settingsCatalogPolicy": 64,
        "endpointSecurityPolicy": 14,
        "deviceCompliancePolicy": 8,
        "deviceConfiguration": 4,
        "windowsDriverUpdateProfile": 3,
        "androidManagedAppProtection": 1,
        "iosManagedAppProtection": 1,
    }


@needs_real_policies
async def test_real_policies_keep_their_fingerprints_from_tenant_to_tenant(world: World) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        tenant = world.first.external_id
        loaded = await http.post(f"{world.url}/_simulator/tenants/{tenant}/folder", json={"path": str(REAL)})
        assert loaded.is_success, loaded.text
    before = await fingerprints(world.first)
    exported = {(policy.ref.policy_type, policy.ref.natural_key): policy.file for policy in scan(REAL).policies}
    assert before.keys() == exported.keys()
    assert len(before) == 95

    assert await copy(world.first, world.second) == 95

    assert await fingerprints(world.second) == before
    async with AllConnectors().reader(TenantConnection(uuid4(), "folder", "x", {"path": str(REAL)})) as folder:
        in_files = {
            (policy.ref.policy_type, policy.ref.natural_key): fingerprint(
                normalised(policy.ref.policy_type, policy.payload)
            )
            async for policy in everything(folder)
        }
    assert in_files == before


@pytest.mark.parametrize("key", [one.key for one in all_types() if one.may_write])
async def test_a_policy_of_every_type_is_created_read_updated_and_found_again(world: World, key: str) -> None:
    name = policy_type(key).name_field
    async with AllConnectors().writer(world.first) as writer:
        payload = golden(key, await apps_of(writer))
        wanted = normalised(key, payload)
        remote_id = await writer.create(key, restorable_body(key, payload), TAG)
        created = await writer.read(key, remote_id, TAG)
        assert normalised(key, created.payload) == wanted
        [ref] = [ref async for ref in writer.list_refs(key, TAG) if ref.remote_id == remote_id]
        assert ref == created.ref

        changed = restorable_body(key, created.payload) | {"description": "Changed", name: f"{payload[name]} again"}
        if key == "notificationMessageTemplate":
            changed.pop("localizedNotificationMessages")  # the simulator lets texts be added only
        await writer.update(key, remote_id, changed, created.etag, TAG)
        read_back = await writer.read(key, remote_id, TAG)
    assert normalised(key, read_back.payload) == wanted | normalised(
        key, {"description": "Changed", name: changed[name]}
    )


async def test_assignments_are_replaced_as_a_whole_and_read_back_alike(world: World) -> None:
    async with AllConnectors().writer(world.first) as writer:
        for key in [one.key for one in all_types() if one.may_write and one.assigning]:
            body = restorable_body(key, golden(key, await apps_of(writer)))
            remote_id = await writer.create(key, body, TAG)
            for wanted in ([EVERYONE, EXCLUDED], [EXCLUDED], []):
                await writer.assign(key, remote_id, wanted, TAG)
                policy = await writer.read(key, remote_id, TAG)
                assert normalised_assignments(policy.assignments) == normalised_assignments(wanted), key


async def test_an_update_against_an_older_state_conflicts(world: World) -> None:
    key = "settingsCatalogPolicy"
    body = restorable_body(key, golden(key))
    async with AllConnectors().writer(world.first) as writer:
        remote_id = await writer.create(key, body, TAG)
        etag = (await writer.read(key, remote_id, TAG)).etag
        assert etag is not None
        await writer.update(key, remote_id, body | {"description": "ours"}, etag, TAG)
        with pytest.raises(ConflictError):
            await writer.update(key, remote_id, body | {"description": "theirs"}, etag, TAG)


async def test_a_collection_without_permission_is_refused_as_such(world: World) -> None:
    key = "conditionalAccessPolicy"
    world.app.state.service.tenants[world.first.external_id].denied = frozenset({policy_type(key).collection})
    async with AllConnectors().reader(world.first) as reader:
        with pytest.raises(RunFatalError) as caught:
            [ref async for ref in reader.list_refs(key, TAG)]
    assert caught.value.code is SafeCode.AUTH_PERMISSION_MISSING


async def test_listing_a_shared_collection_keeps_its_types_apart(world: World) -> None:
    async with AllConnectors().writer(world.first) as writer:
        for key in ("settingsCatalogPolicy", "endpointSecurityPolicy", "iosManagedAppProtection"):
            await writer.create(key, restorable_body(key, golden(key)), TAG)
        counts = {one.key: len([ref async for ref in writer.list_refs(one.key, TAG)]) for one in all_types()}
        [ref] = [ref async for ref in writer.list_refs("endpointSecurityPolicy", TAG)]
        with pytest.raises(NotFoundError):
            await writer.read("settingsCatalogPolicy", str(uuid4()), TAG)
    assert {key: count for key, count in counts.items() if count and key != "roleScopeTag"} == {
        "settingsCatalogPolicy": 1,
        "endpointSecurityPolicy": 1,
        "iosManagedAppProtection": 1,
    }
    assert ref.display_name == golden("endpointSecurityPolicy")["name"]
