"""Objects of one policy type in the simulated Graph: put there, captured, wiped."""

import json
from pathlib import Path

from services.bulk_worker.referred import ReferredObjects
from shared.connectors.factory import AllConnectors
from shared.connectors.normalise import normalised, normalised_assignments
from shared.connectors.policy_types import policy_type, recognise
from shared.connectors.port import CallTag, Json, TenantConnection
from shared.connectors.references import mapped_payload
from shared.runtime.ids import new_id
from simulator import sample
from simulator.process import RunningSimulator
from tests.support.fake_writable_tenant import FakeTenant, Stored
from tests.support.random_previews import settings_of

GOLDEN = Path(__file__).parents[1] / "unit" / "connectors" / "golden"
TO_EVERYBODY = [
    {"target": {"@odata.type": f"#microsoft.graph.{kind}AssignmentTarget"}}
    for kind in ("allDevices", "allLicensedUsers")
]


def exported(key: str) -> Json:
    """An object of the type with settings, as an export of the whole shows it: the sample's, or a recorded one."""
    one = policy_type(key)
    for _, raw in sample.exported():
        is_masked = any(setting.get("isEncrypted") for setting in raw.get("omaSettings", ()))
        if recognise(raw) is one and raw.get("id") != "0" and not is_masked:
            return raw
    recorded: Json = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))["payload"]
    return recorded


def fill(simulator: RunningSimulator, directory: str, key: str) -> None:
    """Put an object of the type into a directory; where the type can be assigned, everybody gets it."""
    one = policy_type(key)
    raw = exported(key) | ({"assignments": TO_EVERYBODY} if one.assigning else {})
    if "targetedMobileApps" in raw:
        raw |= {"targetedMobileApps": apps_of(simulator, directory)}
    order = {"objects": [raw], "collection": one.collection, "keep_ids": True}
    simulator.admin("POST", f"/tenants/{directory}/objects", order)


def apps_of(simulator: RunningSimulator, directory: str, kind: str = "iosStoreApp") -> list[str]:
    """The ids of a directory's apps of a kind: every directory has the same apps under ids of its own."""
    rows = simulator.admin("GET", f"/tenants/{directory}/state")
    return [row["object"]["id"] for row in rows if row["entity"] == f"microsoft.graph.{kind}"]


async def captured(simulator: RunningSimulator, directory: str, key: str) -> FakeTenant:
    """Every object of the type, without what is in each tenant from the start."""
    connection = TenantConnection(new_id(), "graph", directory, settings_of(simulator))
    found = FakeTenant()
    async with AllConnectors().reader(connection) as reader:
        for ref in [ref async for ref in reader.list_refs(key, CallTag()) if ref.remote_id != "0"]:
            policy = await reader.read(key, ref.remote_id, CallTag())
            found.noted += await ReferredObjects(reader).of(policy, CallTag())
            found.objects[key, ref.remote_id] = Stored(policy.payload, list(policy.assignments))
    return found


def content(key: str, tenant: FakeTenant) -> list[tuple[Json, list[Json]]]:
    """What counts of the objects: normal form and assignments. Of an app, what is known of it counts, not the id."""
    known = {(one.policy_type, one.remote_id): one.natural_key for one in tenant.noted}
    return [
        (normalised(key, mapped_payload(key, one.payload, known)), normalised_assignments(one.assignments))
        for one in tenant.objects.values()
    ]


def wipe(simulator: RunningSimulator, directory: str, key: str, tenant: FakeTenant) -> None:
    """Delete the objects as an administrator does; what is assigned one by one has to be taken back before."""
    one = policy_type(key)
    with simulator.graph(directory) as graph:
        for _, remote_id in tenant.objects:
            path = f"{one.collection}/{remote_id}"
            if one.assigning and one.assigning.one_by_one:
                for assignment in graph.get(f"{path}/assignments").raise_for_status().json()["value"]:
                    graph.delete(f"{path}/assignments/{assignment['id']}").raise_for_status()
            graph.delete(path).raise_for_status()
