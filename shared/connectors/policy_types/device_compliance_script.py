"""Scripts that compliance policies ask: a foundation, since policies refer to them. A listing omits the content."""

from shared.connectors.policy_types.model import PolicyType, Risk
from shared.domain.plans import Phase

DEVICE_COMPLIANCE_SCRIPT = PolicyType(
    key="deviceComplianceScript",
    label="Compliance script",
    collection="deviceManagement/deviceComplianceScripts",
    odata_types=("deviceComplianceScript",),
    folders=("ComplianceScripts",),
    foreign_flag="isGlobalScript",
    # No `assigning`: a script reaches the devices of the policies that name it.
    server_keys=("deviceRunStates", "runSummary"),
    defaults={"platform": "windows10AndLater"},  # older exports do not say it
    phase=Phase.FOUNDATION,
    risk=Risk.HIGH,  # it runs code on every device of the policies that name it
)
