"""Faults by script: what goes wrong, for which requests, how many times."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Harm(StrEnum):
    """What happens to a matching request."""

    STATUS = "status"  # answer with a status; `apply` tells whether the request was performed first
    DROP_BEFORE = "drop_before"  # close the connection, nothing performed
    DROP_AFTER = "drop_after"  # perform the request, then close the connection without an answer
    DELAY = "delay"  # wait, then go on as usual


class FaultRule(BaseModel):
    """Applies to the next `times` requests that match, after letting `skip` of them pass.

    `path` is a regular expression searched in the path after the version. `retry_after` in seconds may be fractional;
    None leaves the header out. `delay_ms` waits before the request is performed, `late_ms` after it. `message` is what
    the refusal says: a real one may repeat what was sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    harm: Harm
    method: str | None = None
    path: str = ""
    tenant: str | None = None
    step: str | None = None
    times: Annotated[int, Field(ge=1)] = 1
    skip: Annotated[int, Field(ge=0)] = 0
    status: Annotated[int, Field(ge=400, le=599)] = 503
    retry_after: Annotated[float, Field(ge=0)] | None = None
    apply: bool = False
    delay_ms: Annotated[float, Field(ge=0)] = 0
    late_ms: Annotated[float, Field(ge=0)] = 0
    message: str = "The service cannot answer now."

    @field_validator("path")
    @classmethod
    def _path_is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError("not a regular expression") from error
        return value

    def matches(self, tenant: str, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """True when the rule is about this request."""
        return (
            (self.tenant is None or self.tenant == tenant)
            and (self.method is None or method in self.method.upper().split("|"))
            and (self.step is None or headers.get("reinstate-step") == self.step)
            and re.search(self.path, path) is not None
        )

    @property
    def label(self) -> str:
        """How the journal names it."""
        return f"status {self.status}" if self.harm is Harm.STATUS else self.harm.value


class FaultScript:
    """The rules in force. The first rule that matches a request is the one that it meets."""

    def __init__(self) -> None:
        self._rules: list[tuple[FaultRule, int]] = []  # the rule, and how many matches it has seen

    def add(self, rule: FaultRule) -> None:
        """Put a rule behind the others."""
        self._rules.append((rule, 0))

    def clear(self) -> int:
        """Drop all rules; return how many were left."""
        left = len(self._rules)
        self._rules.clear()
        return left

    def left(self) -> list[FaultRule]:
        """Rules that may still apply."""
        return [rule for rule, _ in self._rules]

    def meet(self, tenant: str, method: str, path: str, headers: Mapping[str, str]) -> FaultRule | None:
        """Find the fault of one request and use it up."""
        for index, (rule, seen) in enumerate(self._rules):
            if not rule.matches(tenant, method, path, headers):
                continue
            seen += 1  # noqa: PLW2901  the count is stored back below
            if seen >= rule.skip + rule.times:
                del self._rules[index]
            else:
                self._rules[index] = (rule, seen)
            if seen > rule.skip:
                return rule
        return None
