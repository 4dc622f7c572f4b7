"""The setting that names the key-encryption keys. It holds references, so it may be shown."""

from typing import Annotated

from pydantic import Field

from shared.keys.ring import KeyRing, key_ring, opens
from shared.runtime.settings import ServiceSettings

VARIABLE = "KEY_ENCRYPTION_KEYS"


class KeySettings(ServiceSettings):
    """What services need that read or write what is sealed. Without it they do not start."""

    key_encryption_keys: Annotated[str, opens] = Field(
        description="keys that wrap the tenants' data keys, ID=REFERENCE, the first for what is new, more with commas; "
        "a reference is file:PATH, env:NAME (32 random bytes as base64 or hex) or kms:MODULE:NAME"
    )

    def key_ring(self) -> KeyRing:
        """Open the keys; the settings were checked, so this raises only where they changed since."""
        return key_ring(self.key_encryption_keys)
