"""What `reinstate upstream` does: the registry and the broker's user together, and the secrets of both, shown once."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cli.administration import administration, tenant_named, upstream_administration
from cli.console import CliFailure, ExitCode, usage
from cli.settings import management_url, vhost
from shared.contracts.names import CommandKey
from shared.contracts.signatures import ALGORITHM, packed, spelled, unpacked
from shared.domain.errors import PermanentError
from shared.domain.upstreams import ABORT, ALLOWABLE, Grants
from shared.messaging.broker_users import Provisioned
from shared.messaging.signing import Signer, is_public_key, key_id_of
from shared.messaging.upstream_users import command_keys_of, provision_upstream, remove_upstream, upstream_user
from shared.persistence.upstream_administration import NewKey, UpstreamRow

OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key to be registered. `signer` is None where the private half stays with the upstream."""

    key: NewKey
    signer: Signer | None

    @classmethod
    def made(cls, public_key: str | None, valid_for: timedelta) -> "KeyPair":
        """Make a pair, or take the public half that was given in base64url."""
        if public_key is None:
            signer = Signer.generate()
            return cls(NewKey(signer.key_id, signer.public_key, valid_for), signer)
        try:
            raw = unpacked(public_key.strip())
        except PermanentError:
            raw = b""
        if not is_public_key(raw):
            raise usage("a public key is 32 bytes of Ed25519 in base64url, without padding")
        return cls(NewKey(key_id_of(raw), raw, valid_for), None)

    def document(self, name: str) -> dict[str, Any]:
        """Return what the upstream needs in order to sign. `signing_key` is a secret."""
        return {
            "upstream": name,
            "algorithm": ALGORITHM,
            "key_id": self.key.id,
            "public_key": packed(self.key.public_key),
            "signing_key": self.signer.text if self.signer else None,
        }


async def grants(tenants: list[str], operations: list[str], *, all_tenants: bool) -> Grants:
    """Read who and what is meant; refuse what names nothing, or both some tenants and all of them."""
    if all_tenants == bool(tenants):
        raise usage("say for which tenants: --tenant, several times if need be, or --all-tenants")
    unknown = sorted(set(operations) - ALLOWABLE)
    if unknown or not operations:
        listed = ", ".join(sorted(ALLOWABLE))
        raise usage(f"there is no operation {unknown[0]}" if unknown else "name an --operation", next_step=listed)
    async with administration() as admin:
        ids = [(await tenant_named(admin, tenant)).id for tenant in tenants]
    return Grants(None if all_tenants else frozenset(ids), frozenset(operations))


async def add(name: str, granted: Grants, pair: KeyPair, *, with_broker: bool) -> dict[str, Any]:
    """Register an upstream and make its user on the broker; return the document with its secrets.

    The broker comes first: a user without a key can do nothing where signatures are required.
    """
    _check_name(name)
    async with upstream_administration() as registry:
        if await registry.find(name) is not None:
            raise _taken(name)
        login = await _provisioned(name, granted, rotate=True) if with_broker else None
        until = await registry.add(name, granted, pair.key)
    if until is None:
        raise _taken(name)
    return {
        **pair.document(name),
        "valid_until": spelled(until),
        **_login(login),
        "tenants": "all" if granted.tenants is None else sorted(str(one) for one in granted.tenants),
        "operations": sorted(granted.operations),
    }


async def rotate(name: str, pair: KeyPair, *, overlap: timedelta, with_password: bool) -> dict[str, Any]:
    """Register another key and, `with_password`, have the broker take a new password only."""
    async with upstream_administration() as registry:
        row = await registry.find(name)
        if row is None:
            raise no_such(name)
        until = await registry.rotate(name, pair.key, overlap=overlap)
        if until is None:
            raise no_such(name)
        login = await _provisioned(name, row.grants, rotate=True) if with_password else None
    return {**pair.document(name), "valid_until": spelled(until), **_login(login)}


async def revoke(name: str, key_ids: list[str]) -> list[str]:
    """Revoke these keys, or all; return those that were not revoked before."""
    async with upstream_administration() as registry:
        row = await registry.find(name)
        known = {key.id for key in row.keys} if row else set()
        for key_id in key_ids:
            if row is not None and key_id not in known:
                raise usage(f"{name} has no key {key_id}", next_step="see reinstate upstream list")
        revoked = await registry.revoke(name, key_ids or None)
    if revoked is None:
        raise no_such(name)
    return sorted(revoked)


async def remove(name: str, *, with_broker: bool) -> bool:
    """Revoke all keys, take the upstream off the list, delete its user; return whether there was a user."""
    async with upstream_administration() as registry:
        if not await registry.remove(name):
            raise no_such(name)
    return await remove_upstream(management_url(), name) if with_broker else False


async def listed() -> list[UpstreamRow]:
    """Return every upstream with its keys."""
    async with upstream_administration() as registry:
        return list(await registry.list())


@contextmanager
def secret_file(path: Path | None) -> Iterator["SecretFile | None"]:
    """Open a new file that only its owner can read; where the block fails there is none."""
    if path is None:
        yield None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise usage(f"{path} is there already", next_step="name a new file: nothing is written over") from None
    except OSError as error:
        raise usage(f"{path} cannot be written ({type(error).__name__})") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield SecretFile(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class SecretFile:
    """Takes a document with secrets."""

    def __init__(self, file: Any) -> None:  # noqa: ANN401  a text file
        """Write into an open file."""
        self._file = file

    def write(self, document: dict[str, Any]) -> None:
        """Write it as JSON."""
        json.dump(document, self._file, indent=2)
        self._file.write("\n")


def no_such(name: str) -> CliFailure:
    """Say that there is no such upstream."""
    return usage(f"there is no upstream {name}", next_step="see reinstate upstream list")


def _taken(name: str) -> CliFailure:
    return CliFailure(
        f"an upstream {name} is there already",
        exit_code=ExitCode.REFUSED,
        code="upstream.exists",
        next_step="reinstate upstream rotate gives it a new key; reinstate upstream remove takes it away",
    )


def _check_name(name: str) -> None:
    try:
        upstream_user(name)
    except ValueError as error:
        raise usage(str(error)) from None


async def _provisioned(name: str, granted: Grants, *, rotate: bool) -> Provisioned:
    keys = command_keys_of(granted.operations - {ABORT}) - {CommandKey.ABORT_RUN}
    if ABORT in granted.operations:
        keys |= {CommandKey.ABORT_RUN}
    return await provision_upstream(management_url(), vhost(), name, keys, rotate=rotate)


def _login(made: Provisioned | None) -> dict[str, Any]:
    login = made.login if made else None
    return {"broker_user": login.user if login else None, "broker_password": login.password if login else None}
