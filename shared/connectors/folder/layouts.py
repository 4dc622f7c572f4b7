"""How exporting tools lay out a folder: which one it is, and where each of them keeps a type."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shared.connectors.policy_types import PolicyType
from shared.connectors.policy_types.model import bare_type
from shared.connectors.port import Json

_DEPTH = 3  # folders below the given one in which a tool's own folders are looked for
_UPDATE_RINGS = frozenset({"windowsUpdateForBusinessConfiguration", "iosUpdateConfiguration"})


class Layout(StrEnum):
    """Whose folder it is."""

    ARCHIVE = "archive"  # ours, unpacked: a manifest names every file
    INTUNEMANAGEMENT = "intunemanagement"
    INTUNECD = "intunecd"


@dataclass(frozen=True, slots=True)
class Folders:
    """What IntuneManagement and IntuneCD call the folder of a collection."""

    intunemanagement: str
    intunecd: str


FOLDERS: Mapping[str, Folders] = {
    "deviceAppManagement/androidManagedAppProtections": Folders("AppProtection", "App Protection"),
    "deviceAppManagement/iosManagedAppProtections": Folders("AppProtection", "App Protection"),
    "deviceAppManagement/mobileAppConfigurations": Folders("AppConfigurationManagedDevice", "App Configuration"),
    "deviceAppManagement/targetedManagedAppConfigurations": Folders("AppConfigurationManagedApp", "App Protection"),
    "deviceManagement/assignmentFilters": Folders("AssignmentFilters", "Filters"),
    "deviceManagement/compliancePolicies": Folders("CompliancePoliciesV2", "Compliance Policies/Policies"),
    "deviceManagement/configurationPolicies": Folders("SettingsCatalog", "Settings Catalog"),
    "deviceManagement/deviceCompliancePolicies": Folders("CompliancePolicies", "Compliance Policies/Policies"),
    "deviceManagement/deviceComplianceScripts": Folders("ComplianceScripts", "Compliance Policies/Scripts"),
    "deviceManagement/deviceConfigurations": Folders("DeviceConfiguration", "Device Configurations"),
    "deviceManagement/deviceCustomAttributeShellScripts": Folders("MacCustomAttributes", "Custom Attributes"),
    "deviceManagement/deviceHealthScripts": Folders("DeviceHealthScripts", "Proactive Remediations"),
    "deviceManagement/deviceManagementScripts": Folders("PowerShellScripts", "Scripts/Powershell"),
    "deviceManagement/deviceShellScripts": Folders("MacScripts", "Scripts/Shell"),
    "deviceManagement/groupPolicyConfigurations": Folders("AdministrativeTemplates", "Group Policy Configurations"),
    "deviceManagement/notificationMessageTemplates": Folders("Notifications", "Compliance Policies/Message Templates"),
    "deviceManagement/roleScopeTags": Folders("ScopeTags", "Scope Tags"),
    "deviceManagement/windowsDriverUpdateProfiles": Folders("DriverUpdateProfiles", "Driver Updates"),
    "deviceManagement/windowsFeatureUpdateProfiles": Folders("FeatureUpdates", "Feature Updates"),
    "deviceManagement/windowsQualityUpdateProfiles": Folders("QualityUpdates", "Quality Updates"),
}
_UPDATE_POLICIES = "UpdatePolicies"  # IntuneManagement keeps update rings apart from their collection


def folder_of(layout: Layout, one: PolicyType, payload: Json) -> str:
    """Return the folder of an object, with forward slashes; a collection that no tool knows has the type's own."""
    known = FOLDERS.get(one.collection)
    if known is None:
        return one.folders[0] if one.folders else one.key
    if layout is Layout.INTUNECD:
        return known.intunecd
    return _UPDATE_POLICIES if bare_type(payload.get("@odata.type")) in _UPDATE_RINGS else known.intunemanagement


def recognised_layout(root: Path) -> Layout | None:
    """Tell by the names of folders which tool wrote them; None when nothing says so, or two things do."""
    names = set(_names(root))
    found = [
        layout
        for layout, words in (
            (Layout.INTUNEMANAGEMENT, {folders.intunemanagement for folders in FOLDERS.values()} | {_UPDATE_POLICIES}),
            (Layout.INTUNECD, {folders.intunecd.partition("/")[0] for folders in FOLDERS.values()}),
        )
        if words & names
    ]
    return found[0] if len(found) == 1 else None


def _names(root: Path) -> Iterator[str]:
    for folder, folders, _ in os.walk(root):
        yield from folders
        if len(Path(folder).relative_to(root).parts) >= _DEPTH:
            folders.clear()
