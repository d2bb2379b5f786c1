"""Deployments of metadata: a package comes by REST, or by SOAP (`soap_metadata`), and its outcome is asked for.

Metadata API Developer Guide, "Deploying with REST", "deploy()", "checkDeployStatus()": at most 10,000 files and 39 MB.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import orjson

from connector.sandbox.salesforce.calls import Answer, Call
from connector.sandbox.salesforce.ids import native_id
from connector.sandbox.salesforce.metadata import run
from connector.sandbox.salesforce.multipart import multipart
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.refusal import RefusedError, not_found

DEPLOYMENT_PREFIX = "0Af"
MAX_FILES = 10_000
MAX_ZIP_BYTES = 39 * 1024 * 1024


def deploy(call: Call) -> Answer:
    """`POST /metadata/deployRequest`: multipart with parts `json` (options) and `file` (zip)."""
    content_type = call.headers.get("content-type", "")
    if "multipart/form-data" not in content_type or not isinstance(call.body, bytes):
        raise RefusedError("UNSUPPORTED_MEDIA_TYPE", "multipart/form-data is needed")
    parts = multipart(call.body, content_type)
    package = next((parts[name] for name in ("file", "deploy") if name in parts), None)
    if "json" not in parts or package is None:
        raise RefusedError("INVALID_MULTIPART_REQUEST", "The request needs a part named json and a part named file")
    try:
        options = orjson.loads(parts["json"])["deployOptions"]
        result = start(call.org, call.access.user_id, package, options)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise RefusedError(
            "INVALID_MULTIPART_REQUEST", f"The deployment cannot be read: {type(error).__name__}"
        ) from None
    native = result["id"]
    pending = {"id": native, "status": "Pending", "done": False, "success": False, "checkOnly": result["checkOnly"]}
    return Answer(
        201, {"id": native, "deployOptions": options, "deployResult": pending, "validatedDeployRequestId": None}
    )


def deployment(call: Call, native: str) -> Answer:
    """`GET /metadata/deployRequest/{id}[?includeDetails=true]`."""
    result = outcome(call.org, native, with_details=call.query.get("includeDetails", "false").lower() == "true")
    if result is None:
        raise not_found()
    return Answer(200, {"id": result["id"], "deployResult": result})


def start(org: Org, user_id: str, package: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Deploy a zip; gives the deployResult. Raises ValueError or BadZipFile for what is no package."""
    if len(package) > MAX_ZIP_BYTES:
        raise ValueError("the package is too large")
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) > MAX_FILES:
            raise ValueError("too many files")
        files = {name: archive.read(name) for name in names}
    number = org.database.execute("SELECT count(*) AS n FROM sf_deployment").fetchone()["n"]
    native = native_id(DEPLOYMENT_PREFIX, number + 1)
    result = run(org, files, options) | {"id": native, "createdBy": user_id}
    org.database.execute("INSERT INTO sf_deployment VALUES (?, ?)", (native, orjson.dumps(result).decode()))
    return result


def outcome(org: Org, native: str, *, with_details: bool) -> dict[str, Any] | None:
    """The deployResult of a deployment; None where there is none."""
    row = org.database.execute("SELECT result FROM sf_deployment WHERE id LIKE ?", (f"{native}%",)).fetchone()
    if row is None or not native:
        return None
    result: dict[str, Any] = orjson.loads(row["result"])
    if not with_details:
        result.pop("details")
    return result
