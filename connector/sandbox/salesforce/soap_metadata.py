"""Deployments by the SOAP of the Metadata API, as `sf.deploy()` of simple-salesforce and others send them.

Metadata API Developer Guide, "deploy()", "checkDeployStatus()". Retrieving and the calls of single components are not there.
"""

from __future__ import annotations

import base64
import binascii
import zipfile

from connector.sandbox.salesforce import deployments
from connector.sandbox.salesforce.soap import Asked, FaultError, Operations, Said

_FLAGS = (
    "allowMissingFiles", "autoUpdatePackage", "checkOnly", "ignoreWarnings", "performRetrieve", "purgeOnDelete",
    "rollbackOnError", "singlePackage",
)  # fmt: skip


def _deploy(asked: Asked) -> list[Said]:
    given = asked.said.get("DeployOptions")
    options = {name: str(given.get(name, "")).lower() == "true" for name in _FLAGS} if isinstance(given, dict) else {}
    try:
        package = base64.b64decode(str(asked.said.get("ZipFile", "")), validate=True)
        result = deployments.start(asked.org, asked.user_id, package, options)
    except (ValueError, binascii.Error, zipfile.BadZipFile) as error:
        raise FaultError("INVALID_ZIP", f"The package cannot be read: {type(error).__name__}") from None
    return [{"done": False, "id": result["id"], "state": "Queued"}]


def _check(asked: Asked) -> list[Said]:
    details = str(asked.said.get("includeDetails", "")).lower() == "true"
    found = deployments.outcome(asked.org, str(asked.said.get("asyncProcessId", "")), with_details=details)
    if found is None:
        raise FaultError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    return [found]


OPERATIONS: Operations = {"deploy": _deploy, "checkDeployStatus": _check}
