"""Enrollment: how many devices, which platforms, what is shown meanwhile, who is told.

Preview only: their priorities are one order over the whole tenant, in which a restored one would have to find its
place, and every tenant has default ones that cannot be removed.
"""

from shared.connectors.policy_types.model import Assigning, PolicyType, RestoreMode, Risk, UnorderedSet

DEVICE_ENROLLMENT_CONFIGURATION = PolicyType(
    key="deviceEnrollmentConfiguration",
    label="Enrollment configuration",
    collection="deviceManagement/deviceEnrollmentConfigurations",
    odata_types=(
        "deviceComanagementAuthorityConfiguration",
        "deviceEnrollmentLimitConfiguration",
        "deviceEnrollmentNotificationConfiguration",
        "deviceEnrollmentPlatformRestrictionConfiguration",
        "deviceEnrollmentPlatformRestrictionsConfiguration",
        "deviceEnrollmentWindowsHelloForBusinessConfiguration",
        "windows10EnrollmentCompletionPageConfiguration",
        "windowsRestoreDeviceEnrollmentConfiguration",
    ),
    folders=("EnrollmentRestrictions", "EnrollmentStatusPage", "EnrollmentConfigurations"),
    polymorphic=True,
    assigning=Assigning(
        body_key="enrollmentConfigurationAssignments", wrapper="#microsoft.graph.enrollmentConfigurationAssignment"
    ),
    natural_fields=("platformType",),  # defaults of all platforms share a name
    server_keys=("deviceEnrollmentConfigurationType",),
    sets=(UnorderedSet("notificationTemplates"), UnorderedSet("selectedMobileAppIds")),
    declared_types=("deviceEnrollmentPlatformRestriction",),
    restore_mode=RestoreMode.PREVIEW_ONLY,
    risk=Risk.HIGH,
)
