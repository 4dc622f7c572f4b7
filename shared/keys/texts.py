"""Secrets as text that no `repr`, log or error shows."""

from dataclasses import dataclass, field

from pydantic import SecretStr

from shared.keys.envelope import Purpose, TenantCipher


@dataclass(frozen=True, slots=True)
class SealedText:
    """A tenant's stored credential as it lies in the database; opened at the moment of use, and kept nowhere."""

    content: bytes = field(repr=False)
    cipher: TenantCipher = field(repr=False, compare=False)

    def reveal(self) -> SecretStr:
        """Open it; `PermanentError(SNAPSHOT_CORRUPT)` when it is not what was stored for this tenant."""
        return SecretStr(self.cipher.open(Purpose.CREDENTIAL, (), self.content).decode())
