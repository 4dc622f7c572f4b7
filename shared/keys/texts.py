"""Secrets as text that no `repr`, log or error shows."""

from dataclasses import dataclass, field

from pydantic import SecretStr

from shared.keys.envelope import Purpose, TenantCipher


@dataclass(frozen=True, slots=True)
class SealedText:
    """A tenant's stored secret, its credential unless said otherwise, as it lies in the database.

    It is opened at the moment of use, and kept nowhere.
    """

    content: bytes = field(repr=False)
    cipher: TenantCipher = field(repr=False, compare=False)
    purpose: Purpose = Purpose.CREDENTIAL
    row: tuple[str, ...] = ()

    def reveal(self) -> SecretStr:
        """Open it; `PermanentError(SNAPSHOT_CORRUPT)` when it is not what was stored for this tenant."""
        return SecretStr(self.cipher.open(self.purpose, self.row, self.content).decode())
