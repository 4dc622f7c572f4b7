"""Who calls: service tokens for now, behind the Protocol `Authenticator`."""

import hashlib
from collections.abc import Mapping

from services.dispatcher.ports import Principal
from shared.domain.errors import PermanentError, SafeCode
from shared.front_door import Directory

MAX_TOKEN = 4096  # characters; a longer one is nobody's


class TokenAuthenticator:
    """`Authenticator` over `Authorization: Bearer <service token>`. Only the token's hash is stored anywhere."""

    def __init__(self, directory: Directory) -> None:
        """Look users up in `directory`."""
        self._directory = directory

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the token's user; raise `PermanentError(AUTHZ_UNAUTHENTICATED)` when there is none."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise PermanentError(SafeCode.AUTHZ_UNAUTHENTICATED)
        user = await self._directory.by_token(hash_token(token))
        if user is None:
            raise PermanentError(SafeCode.AUTHZ_UNAUTHENTICATED)
        return Principal(user.id, user.name)


def hash_token(token: str) -> str:
    """Return what is stored of a service token."""
    return hashlib.sha256(token.encode()).hexdigest()
