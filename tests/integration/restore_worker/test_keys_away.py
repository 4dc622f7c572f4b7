"""An execution whose keys are away writes nothing that it could not keep, and goes on once they are back."""

from contextlib import suppress

import pytest

from shared.domain.errors import TransientError
from shared.domain.runs import RunStatus
from shared.keys.envelope import Sealer, TenantCipher
from shared.keys.ring import KeyUnavailable
from shared.persistence.vault import Vault
from tests.support.keys import session_ring
from tests.support.restore_lab import ALL_DEVICES, RestoreLab, a_policy

KIND = "deviceConfiguration"


class Failing(Vault):
    """Opens what it is asked to a number of times, and then never again."""

    left = 0

    async def cipher(self, *given: object) -> TenantCipher:
        self._count()
        return await super().cipher(*given)  # type: ignore[arg-type]  # as given

    async def sealer(self, *given: object) -> Sealer:
        self._count()
        return await super().sealer(*given)  # type: ignore[arg-type]  # as given

    def _count(self) -> None:
        if self.left <= 0:
            raise KeyUnavailable("not_set")
        self.left -= 1


@pytest.mark.parametrize("left", range(7))
async def test_wherever_the_keys_go_away_each_write_was_kept_before_it_was_sent(world: RestoreLab, left: int) -> None:
    policy = world.tenant.add(KIND, a_policy("Disk", description="a"), [ALL_DEVICES])
    set_id = await world.back_up()
    world.tenant.objects[KIND, policy].payload["description"] = "b"
    preview = await world.preview(set_id)
    run = await world.start(preview)
    good, vault = world.lab.make_vault, Failing(world.lab.engine, session_ring())
    vault.left = left
    world.lab.make_vault = lambda _engine: vault
    with suppress(TransientError):
        await world.slice(run)
    sent = len(world.tenant.journal)
    world.lab.make_vault = good
    kept = (await world.items(run)).get("Disk", {}).get("before_sha256")
    await world.lab.rows(
        "UPDATE restore_runs SET lease_until = NULL, lease_owner = NULL WHERE id = :run AND lease_until IS NOT NULL"
        " RETURNING 1",
        run=run.id,
    )
    done = await world.finished(run)

    assert sent <= 1
    assert not sent or kept, "what was written was not kept before"
    assert done.status is RunStatus.SUCCEEDED
    assert [write.method for write in world.tenant.journal] == ["update"]
    assert world.tenant.objects[KIND, policy].payload["description"] == "a"
