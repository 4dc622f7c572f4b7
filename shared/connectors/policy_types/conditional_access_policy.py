"""Conditional access: high risk and never written, since one wrong policy locks everybody out of the tenant.

It needs a permission beyond Intune's own and has a limit of its own: one request a second. Whom it reaches is part of
the policy, as ids of users, groups, roles and apps; there are no assignments.
"""

from shared.connectors.policy_types.model import PolicyType, RestoreMode, Risk, ThrottleClass, UnorderedSet

_LISTS = (
    "Applications",
    "AuthenticationContextClassReferences",
    "Devices",
    "Groups",
    "Locations",
    "Platforms",
    "Roles",
    "ServicePrincipals",
    "UserActions",
    "Users",
)
_OTHER_LISTS = (
    "builtInControls",
    "clientAppTypes",
    "customAuthenticationFactors",
    "servicePrincipalRiskLevels",
    "signInRiskLevels",
    "termsOfUse",
    "userRiskLevels",
)
_OF_THE_STRENGTH = (  # another object's, shown where the policy refers to it
    "allowedCombinations",
    "combinationConfigurations",
    "createdDateTime",
    "description",
    "displayName",
    "modifiedDateTime",
    "policyType",
    "requirementsSatisfied",
)

CONDITIONAL_ACCESS_POLICY = PolicyType(
    key="conditionalAccessPolicy",
    label="Conditional access policy",
    collection="identity/conditionalAccess/policies",
    odata_types=("conditionalAccessPolicy",),
    folders=("ConditionalAccess", "ConditionalAccessPolicies"),
    server_keys=(
        "deletedDateTime",
        "templateId",
        *(f"grantControls.authenticationStrength.{name}" for name in _OF_THE_STRENGTH),
    ),
    sets=(
        *(UnorderedSet(f"**.{word}{name}") for name in _LISTS for word in ("include", "exclude")),
        *(UnorderedSet(f"**.{name}") for name in _OTHER_LISTS),
    ),
    restore_mode=RestoreMode.PREVIEW_ONLY,
    risk=Risk.HIGH,
    throttle=ThrottleClass.CONDITIONAL_ACCESS,
    optional_permission=True,
)
