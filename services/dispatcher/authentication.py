"""Who calls: somebody with a service token, or somebody whom the issuer vouches for; behind `Authenticator`.

Every refusal is the same answer, whatever was wrong: `authz.unauthenticated`. Why, only a metric tells.
"""

import hashlib
from collections.abc import Callable, Mapping

from services.dispatcher.oidc.identities import MAX_TOKEN, Identity, Reason, Refused, Verifier
from services.dispatcher.ports import Principal
from shared.domain.errors import PermanentError, SafeCode
from shared.front_door import Directory, User

_MAX_SERVICE_TOKEN = 4096  # characters; a longer one is nobody's
_DOTS = 2  # between the parts of a signed token; a service token has none


class BearerAuthenticator:
    """`Authenticator` over `Authorization: Bearer <token>`.

    Of a service token only the hash is stored anywhere, of an issuer's token nothing at all.
    """

    def __init__(
        self,
        directory: Directory,
        verifier: Verifier | None = None,
        *,
        binds_by_email: bool = False,
        refused: Callable[[Reason], None] = lambda _reason: None,
    ) -> None:
        """Look users up in `directory`; without a `verifier` there are service tokens only. `refused` counts."""
        self._directory = directory
        self._verifier = verifier
        self._binds_by_email = binds_by_email
        self._refused = refused

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the token's user; raise `PermanentError(AUTHZ_UNAUTHENTICATED)` when there is none.

        Raises `TransientError` when the database or, for want of keys, the issuer does not answer.
        """
        try:
            user = await self._user(_token(headers))
        except Refused as refusal:
            self._refused(refusal.reason)
            raise PermanentError(SafeCode.AUTHZ_UNAUTHENTICATED) from None
        return Principal(user.id, user.name)

    async def _user(self, token: str) -> User:
        if token.count(".") == _DOTS and self._verifier is not None:
            return await self._known(await self._verifier.verify(token))
        user = await self._directory.by_token(hash_token(token)) if len(token) <= _MAX_SERVICE_TOKEN else None
        if user is None:
            raise Refused(Reason.SERVICE)
        return user

    async def _known(self, identity: Identity) -> User:
        user = await self._directory.by_identity(identity.issuer, identity.subject)
        if user is None and self._binds_by_email and identity.email is not None:
            user = await self._directory.bind(identity.issuer, identity.subject, identity.email)
        if user is None:
            raise Refused(Reason.UNKNOWN)
        return user


def hash_token(token: str) -> str:
    """Return what is stored of a service token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Refused(Reason.MALFORMED)
    return token
