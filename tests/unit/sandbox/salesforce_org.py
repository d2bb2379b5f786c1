"""An empty imitated org on a free port, in a thread, and a client for it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import requests

from connector.sandbox import Options, serving
from connector.sandbox.context import Context, Settings

CLIENT = ("sandbox-consumer-key", "sandbox-consumer-secret")
NAMESPACE = 'xmlns="http://soap.sforce.com/2006/04/metadata"'

SCORE = "<fields><fullName>Score__c</fullName><label>Score</label><type>Number</type><precision>5</precision><scale>1</scale></fields>"
GRADE = (
    "<fields><fullName>Grade__c</fullName><label>Grade</label><type>Picklist</type><valueSet><restricted>true</restricted>"
    "<valueSetDefinition><value><fullName>A</fullName><default>false</default></value>"
    "<value><fullName>B</fullName><default>false</default></value></valueSetDefinition></valueSet></fields>"
)
TASK_KEY = (
    "<fields><fullName>Task_Key__c</fullName><label>Task Key</label><type>Text</type><length>64</length>"
    "<externalId>true</externalId><unique>true</unique><caseSensitive>true</caseSensitive></fields>"
)


@dataclass
class OrgClient:
    """The running org: its address, its insides, and a session that is signed in as the integration user."""

    url: str
    context: Context
    version: str = "62.0"
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def base(self) -> str:
        return f"/services/data/v{self.version}"

    def sign_in(self, form: Mapping[str, str] | None = None) -> None:
        form = form or {"grant_type": "client_credentials", "client_id": CLIENT[0], "client_secret": CLIENT[1]}
        answer = requests.post(f"{self.url}/services/oauth2/token", data=form, timeout=10)
        assert answer.status_code == 200, answer.text
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def raw(self, method: str, path: str, **more: Any) -> requests.Response:
        """`path` below the version, or from the root when it begins with /services or /_sandbox."""
        whole = path if path.startswith(("/services", "/_sandbox")) else self.base + path
        return self.session.request(method, self.url + whole, timeout=10, **more)

    def call(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        """The parsed answer; that status is demanded."""
        answer = self.raw(method, path, json=body, **more)
        assert answer.status_code == status, answer.text[:2000]
        return answer.json() if answer.content else None

    def query(self, soql: str, *, status: int = 200, every: bool = False) -> Any:
        return self.call("GET", "/queryAll" if every else "/query", status=status, params={"q": soql})

    def refusal(self, soql: str) -> tuple[str, str]:
        """Code and last line of the message of a query that is refused."""
        error = self.query(soql, status=400)[0]
        return error["errorCode"], error["message"].rsplit("\n", 1)[-1]

    def create(self, kind: str, **values: Any) -> str:
        answer = self.call("POST", f"/sobjects/{kind}", values, 201, headers={"Sforce-Auto-Assign": "FALSE"})
        return str(answer["id"])

    def lead(self, **values: Any) -> str:
        return self.create("Lead", **{"LastName": "Doe", "Company": "Acme", **values})

    def field(self, kind: str, native: str, name: str) -> Any:
        return self.call("GET", f"/sobjects/{kind}/{native}", params={"fields": name})[name]

    def deploy(self, files: Mapping[str, str], **options: Any) -> Any:
        """Deploy these files and give the finished deployResult."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("package.xml", f"<Package {NAMESPACE}><version>62.0</version></Package>")
            for name, text in files.items():
                archive.writestr(name, text)
        told = orjson.dumps({"deployOptions": {"singlePackage": True, "rollbackOnError": True, **options}})
        parts = {
            "json": (None, told, "application/json"),
            "file": ("deploy.zip", packed.getvalue(), "application/zip"),
        }
        answer = self.raw("POST", "/metadata/deployRequest", files=parts)
        assert answer.status_code == 201, answer.text
        path = f"/metadata/deployRequest/{answer.json()['id']}"
        return self.call("GET", path, params={"includeDetails": "true"})["deployResult"]

    def install(self) -> None:
        """Score__c and Grade__c on leads, Task_Key__c on tasks, granted and assigned to the integration user."""
        result = self.deploy(
            {
                "objects/Lead.object": custom_object(SCORE + GRADE),
                "objects/Activity.object": custom_object(TASK_KEY),
                "permissionsets/Connector.permissionset": permission_set(
                    "Lead.Score__c", "Lead.Grade__c", "Task.Task_Key__c"
                ),
            }
        )
        assert result["success"], result
        self.assign("Connector")

    def assign(self, name: str) -> None:
        found = self.query(f"SELECT Id FROM PermissionSet WHERE Name = '{name}'")["records"][0]["Id"]
        me = self.call("GET", "/services/oauth2/userinfo")["user_id"]
        self.create("PermissionSetAssignment", PermissionSetId=found, AssigneeId=me)

    def admin(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        return self.call(method, f"/_sandbox{path}", body, status)

    def fault(self, kind: str, **more: Any) -> None:
        self.admin("POST", "/faults", {"system": "salesforce", "kind": kind, **more})


def custom_object(fields: str) -> str:
    return f"<CustomObject {NAMESPACE}>{fields}</CustomObject>"


def permission_set(*fields: str, editable: bool = True) -> str:
    grants = "".join(
        f"<fieldPermissions><editable>{str(editable).lower()}</editable><field>{name}</field>"
        "<readable>true</readable></fieldPermissions>"
        for name in fields
    )
    return f"<PermissionSet {NAMESPACE}><label>Connector</label>{grants}</PermissionSet>"


@contextmanager
def org(**settings: Any) -> Iterator[OrgClient]:
    """An org without customers, with somebody signed in."""
    with serving(Options(people=0, settings=Settings(**settings))) as running:
        client = OrgClient(running.salesforce_url, running.context)
        client.sign_in()
        yield client
