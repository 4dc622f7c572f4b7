"""Settings of the check of signed commands."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field, ValidationInfo, field_validator

from shared.domain.upstreams import SignatureRules
from shared.runtime.settings import Mode, ServiceSettings


class CommandSignatures(StrEnum):
    """Whether commands from the broker have to be signed. A signature that is there is checked either way."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class SignedCommandSettings(ServiceSettings):
    """How much of a proof a command needs."""

    command_signatures: CommandSignatures | None = Field(
        default=None,
        description="whether commands have to be signed: required, or optional, which development alone may say and"
        " which is the default there",
    )
    command_max_age: float = Field(
        default=3600,
        ge=60,
        le=604800,  # less than the inbox remembers: what is too old for it is too old by its signature
        description="age from which on a signed command is refused, waiting and retries included",
    )
    command_tolerance: float = Field(
        default=300, ge=0, le=3600, description="how far the clock of who signs may be off, either way"
    )

    @field_validator("command_signatures", mode="before")
    @classmethod
    def _empty_says_nothing(cls, value: object) -> object:
        return value or None

    @field_validator("command_signatures")
    @classmethod
    def _is_required_in_production(
        cls, value: CommandSignatures | None, info: ValidationInfo
    ) -> CommandSignatures | None:
        mode = info.data.get("reinstate_mode", Mode.PRODUCTION)
        if value is CommandSignatures.OPTIONAL and mode is not Mode.DEVELOPMENT:
            raise ValueError("optional only where REINSTATE_MODE is development")
        return value

    @property
    def signature_rules(self) -> SignatureRules:
        """The same in the words of the law."""
        required = self.command_signatures is CommandSignatures.REQUIRED
        if self.command_signatures is None:
            required = self.reinstate_mode is not Mode.DEVELOPMENT
        age, tolerance = timedelta(seconds=self.command_max_age), timedelta(seconds=self.command_tolerance)
        return SignatureRules(required, age, tolerance)
