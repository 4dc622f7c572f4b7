"""Brings a broker's vhost in line with the topology, and says where it is not. Speaks the management HTTP API."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shared.domain.errors import SafeCode
from shared.messaging.management import TopologyError, call, management_client
from shared.messaging.topology import BINDINGS, EXCHANGES, POLICIES, PRIORITY, QUEUES, BindingSpec, definitions

if TYPE_CHECKING:
    import httpx

__all__ = ["Difference", "Kind", "Problem", "TopologyError", "apply", "check"]

Kind = Literal["exchange", "queue", "binding", "policy"]
Problem = Literal["missing", "differs", "surplus", "shadowed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on the broker that is not as the topology says. `detail` is for people."""

    kind: Kind
    name: str
    problem: Problem
    detail: str = ""

    def __str__(self) -> str:
        """Describe the difference in one line."""
        return f"{self.kind} {self.name}: {self.problem}" + (f" ({self.detail})" if self.detail else "")


async def apply(management_url: str, vhost: str) -> list[Difference]:
    """Make what is missing, change what may change, and return that; an empty list: nothing was to be done.

    Never deletes: surplus bindings and foreign policies stay, for `check` to name. Before anything is changed, raises
    `TopologyError` with `topology.conflict` when an exchange or queue exists with other fixed properties, since only
    deleting it could change them. `management_url` carries user and password: `http://user:password@host:15672`.
    """
    async with management_client(management_url) as client:
        found = _compare(await _read(client, vhost))
        conflicts = [d for d in found if d.problem == "differs" and d.kind in ("exchange", "queue")]
        if conflicts:
            reason = "; ".join(map(str, conflicts))
            raise TopologyError(SafeCode.TOPOLOGY_CONFLICT, count=len(conflicts), reason=reason)
        changes = [d for d in found if d.problem in ("missing", "differs")]
        if changes:
            await _import(client, vhost, changes)
        return changes


async def check(management_url: str, vhost: str) -> list[Difference]:
    """Return every difference between the broker and the topology. Raises `TopologyError` when it cannot be read."""
    async with management_client(management_url) as client:
        return _compare(await _read(client, vhost))


async def _read(client: "httpx.AsyncClient", vhost: str) -> Mapping[str, Any]:
    found = await call(client, "GET", "definitions", vhost, doing=f"reading the definitions of vhost {vhost}")
    return dict(found or {})


def _compare(actual: Mapping[str, Any]) -> list[Difference]:
    wanted = definitions("")
    return [
        *_compare_named("exchange", wanted["exchanges"], actual["exchanges"], ("type", "durable", "auto_delete")),
        *_compare_named(
            "policy", wanted["policies"], actual["policies"], ("pattern", "apply-to", "definition", "priority")
        ),
        *_compare_named("queue", wanted["queues"], actual["queues"], ("durable", "auto_delete", "arguments")),
        *_compare_bindings(actual["bindings"]),
        *_shadowing(actual["policies"]),
    ]


def _compare_named(
    kind: Kind, wanted: list[dict[str, Any]], actual: list[dict[str, Any]], fixed: tuple[str, ...]
) -> Iterator[Difference]:
    by_name = {entry["name"]: entry for entry in actual}
    for want in wanted:
        have = by_name.get(want["name"])
        if have is None:
            yield Difference(kind, want["name"], "missing")
            continue
        wrong = [key for key in fixed if have.get(key) != want[key]]
        if wrong:
            detail = ", ".join(f"{key} is {have.get(key)}, not {want[key]}" for key in wrong)
            yield Difference(kind, want["name"], "differs", detail)


def _binding(entry: Mapping[str, Any]) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    arguments = tuple(sorted((key, str(value)) for key, value in entry["arguments"].items()))
    return (entry["source"], entry["destination"], entry["routing_key"], arguments)


def _compare_bindings(actual: list[dict[str, Any]]) -> Iterator[Difference]:
    wanted = {_binding(entry): spec for entry, spec in zip(definitions("")["bindings"], BINDINGS, strict=True)}
    ours = {queue.name for queue in QUEUES}
    have = {_binding(entry) for entry in actual if entry["destination_type"] == "queue"}
    for key, spec in wanted.items():
        if key not in have:
            yield Difference("binding", str(spec), "missing")
    for source, destination, routing_key, arguments in sorted(have - wanted.keys()):
        if destination in ours:
            name = str(BindingSpec(source, destination, routing_key, dict(arguments)))
            yield Difference("binding", name, "surplus")


def _shadowing(actual: list[dict[str, Any]]) -> Iterator[Difference]:
    """Name foreign policies that may win over ours: the broker applies one policy only, that of highest priority."""
    ours = {policy.name for policy in POLICIES}
    objects = [*(("queues", queue.name) for queue in QUEUES), *(("exchanges", e.name) for e in EXCHANGES)]
    for entry in actual:
        if entry["name"] in ours or entry["priority"] < PRIORITY:
            continue
        for kind, name in objects:
            if entry["apply-to"] in (kind, "all", *_QUEUE_KINDS[kind]) and _matches(entry["pattern"], name):
                yield Difference("policy", entry["name"], "shadowed", f"it wins over our policy of {name}")


# RabbitMQ 4 also has policies for one queue type.
_QUEUE_KINDS = {"queues": ("quorum_queues",), "exchanges": ()}


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # the broker's regular expressions know more than ours: better named once too often
        return True


async def _import(client: "httpx.AsyncClient", vhost: str, changes: list[Difference]) -> None:
    """Import the changed part of our definitions. The broker takes policies first, so no queue is without its own."""
    wanted = definitions(vhost)
    names = {(change.kind, change.name) for change in changes}
    sections: dict[str, Kind] = {"exchanges": "exchange", "queues": "queue", "policies": "policy"}
    body = {
        section: [_without_vhost(entry) for entry in wanted[section] if (kind, entry["name"]) in names]
        for section, kind in sections.items()
    }
    body["bindings"] = [
        _without_vhost(entry)
        for entry, spec in zip(wanted["bindings"], BINDINGS, strict=True)
        if ("binding", str(spec)) in names
    ]
    doing = f"importing {len(changes)} changes into vhost {vhost}"
    await call(client, "POST", "definitions", vhost, doing=doing, body=body)


def _without_vhost(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "vhost"}
