"""A folder of exported policies as a tenant's system that can only be read."""

from shared.connectors.folder.scan import FolderPolicy, FolderProblem, ScanReport, scan

__all__ = ["FolderPolicy", "FolderProblem", "ScanReport", "scan"]
