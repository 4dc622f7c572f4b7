"""Assignment filters: a foundation, since assignments refer to them."""

from shared.connectors.policy_types.model import PolicyType, Risk
from shared.domain.plans import Phase

ASSIGNMENT_FILTER = PolicyType(
    key="assignmentFilter",
    label="Assignment filter",
    collection="deviceManagement/assignmentFilters",
    odata_types=("deviceAndAppManagementAssignmentFilter",),
    folders=("Filters", "AssignmentFilters"),
    natural_fields=("platform",),
    server_keys=("payloads",),
    create_only=("platform", "assignmentFilterManagementType"),
    defaults={"roleScopeTags": ["0"]},
    phase=Phase.FOUNDATION,
    risk=Risk.HIGH,  # a wider rule widens every assignment that uses it
)
