"""The Salesforce adapter as a whole: options, verdicts, check, set-up."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
import requests
import responses
from pydantic import ValidationError

from connector import clock
from connector.errors import AuthError
from connector.model import FieldSpec, Finding, InstallStep, Request, Step, System
from connector.pacing import Usage
from connector.sources.salesforce import SALESFORCE, STREAMS
from connector.sources.salesforce_metadata import NAMESPACE, package
from connector.sources.salesforce_rest import classify, usage
from connector.verdicts import Verdict
from tests.unit.sources.salesforce_double import DATE, PREFIX, URL, Org, described, options, path_of, refused

LEADS = STREAMS[0]
SERVER_NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda _: None)
    monkeypatch.setattr(clock, "now", lambda: SERVER_NOW)


# --------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"client_secret": None}, "give client_secret, private_key with username, or refresh_token"),
        ({"private_key": "k"}, "private_key needs username"),
        ({"private_key": "k", "username": "u", "refresh_token": "r"}, "not both"),
        ({"url": "http://acme.my.salesforce.com"}, "https"),
        ({"url": "https://YOUR-DOMAIN.my.salesforce.com"}, "not filled in"),
        ({"api_version": "62"}, "pattern"),
        ({"quota": {"share": 0}}, "greater than 0"),
        ({"quota": {"share": 1.5}}, "less than or equal to 1"),
        ({"clientid": "x"}, "Extra inputs"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        options(**changes)


def test_every_option_is_documented_and_no_secret_shows() -> None:
    made = options(client_secret="hunter2", private_key="hunter3", username="u")
    assert not {"hunter2", "hunter3"} & set(repr(made).replace("'", " ").split())
    assert all(field.description for name, field in SALESFORCE.options.model_fields.items() if name != "kind")


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--uat.sandbox.my.salesforce.com", "https://test.salesforce.com"),
    ],
)
def test_an_assertion_is_addressed_to_where_the_orgs_users_live(url: str, audience: str) -> None:
    from connector.sources.salesforce import _audience

    assert _audience(url) == audience


@responses.activate
def test_a_token_that_ran_out_is_renewed_in_the_middle_of_a_read() -> None:
    org = Org(lambda part: (200, {"done": True, "records": [], "totalSize": 0}))
    tokens = iter(["old", "new"])
    responses.add_callback(
        "POST",
        f"{URL}/services/oauth2/token",
        lambda _: (200, {}, orjson.dumps({"access_token": next(tokens)})),
    )
    answered = org._composite

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        if request.headers["Authorization"] == "Bearer old":
            return 401, {}, orjson.dumps([{"errorCode": "INVALID_SESSION_ID", "message": "expired"}])
        return answered(request)

    org._composite = answer  # type: ignore[method-assign]
    assert len(list(org.connect().source.pages([Request(LEADS, ())]))) == 1


# --------------------------------------------------------------------------------------------------- classify


@pytest.mark.parametrize(
    ("status", "code", "message", "verdict"),
    [
        (200, "", "", Verdict.OK),
        (204, "", "", Verdict.OK),
        (300, "", "", Verdict.OK),
        (304, "", "", Verdict.OK),
        (400, "MALFORMED_QUERY", "", Verdict.REJECTED),
        (400, "INVALID_FIELD", "", Verdict.REJECTED),
        (400, "QUERY_TIMEOUT", "", Verdict.RETRY_IF_IDEMPOTENT),
        (400, "UNABLE_TO_LOCK_ROW", "", Verdict.RETRY),
        (400, "", "", Verdict.PROTOCOL),
        (401, "INVALID_SESSION_ID", "Session expired or invalid", Verdict.REFRESH),
        (401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API", Verdict.AUTH),
        (401, "", "", Verdict.REFRESH),
        (403, "REQUEST_LIMIT_EXCEEDED", "", Verdict.QUOTA),
        (403, "API_DISABLED_FOR_ORG", "", Verdict.AUTH),
        (403, "API_CURRENTLY_DISABLED", "", Verdict.AUTH),
        (403, "INSUFFICIENT_ACCESS", "", Verdict.FORBIDDEN),
        (403, "", "", Verdict.FORBIDDEN),
        (404, "NOT_FOUND", "", Verdict.REJECTED),
        (404, "", "", Verdict.PROTOCOL),
        (406, "", "", Verdict.RETRY_IF_IDEMPOTENT),
        (410, "UNSUPPORTED_API_VERSION", "", Verdict.PROTOCOL),
        (414, "", "", Verdict.PROTOCOL),
        (420, "", "", Verdict.RETRY_IF_IDEMPOTENT),
        (429, "", "", Verdict.RETRY),
        (431, "", "", Verdict.PROTOCOL),
        (500, "UNKNOWN_EXCEPTION", "", Verdict.RETRY_IF_IDEMPOTENT),
        (500, "A_NEW_CODE", "", Verdict.RETRY_IF_IDEMPOTENT),
        (501, "A_NEW_CODE", "", Verdict.PROTOCOL),
        (503, "SERVER_UNAVAILABLE", "", Verdict.RETRY_IF_IDEMPOTENT),
    ],
)
def test_an_answer_is_judged_by_its_code_first(status: int, code: str, message: str, verdict: Verdict) -> None:
    body = [{"errorCode": code, "message": message}] if code else "<html>"
    told = classify(status, {}, body)
    assert told.verdict is verdict
    assert told.code == (code if status >= 400 else "")


def test_a_wait_that_is_asked_for_is_told() -> None:
    assert classify(429, {"retry-after": "7"}, None).retry_after_s == 7.0
    assert classify(429, {"retry-after": "Wed, 21 Oct"}, None).retry_after_s is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("api-usage=10018/100000", Usage(10018, 100000)),
        ("api-usage=10018/100000; api-bursts=1/750", Usage(10018, 100000)),
        ("api-usage=18/5000; per-app-api-usage=17/250(appName=sample-app)", Usage(18, 5000)),
        ("", None),
        ("something else", None),
    ],
)
def test_the_usage_is_read_from_every_form_of_its_header(header: str, expected: Usage | None) -> None:
    assert usage({"sforce-limit-info": header}) == expected


# --------------------------------------------------------------------------------------------------- check, describe


def userinfo(status: int = 200) -> None:
    body: Any = {"user_id": "005A", "preferred_username": "sync@acme.example"}
    responses.get(f"{URL}/services/oauth2/userinfo/", status=status, json=body if status == 200 else {})
    responses.get(f"{URL}/services/oauth2/userinfo", status=status, json=body if status == 200 else {})


@responses.activate
def test_check_says_who_we_are_what_is_used_and_what_cannot_be_read() -> None:
    userinfo()
    org = Org(lambda part: refused("NOT_FOUND", status=404) if "Task" in path_of(part) else described("Id", "Email"))
    org.headers["Sforce-Limit-Info"] = "api-usage=85/100"
    org.headers["Date"] = "Tue, 24 Nov 2026 14:05:00 GMT"
    told = org.connect().source.check(
        [Request(LEADS, ("Email", "AnnualRevenue", "Mine__c", "CurrencyIsoCode")), Request(STREAMS[5], ())]
    )
    assert (told.signed_in_as, told.calls_used, told.calls_limit) == ("sync@acme.example", 85, 100)
    assert told.clock_skew_s == 300.0
    by_what = {finding.what: finding for finding in told.findings}
    assert by_what["reads Lead"].level == "ok"
    assert by_what["Task is not visible to this user"].level == "error"
    revenue = by_what["Lead.AnnualRevenue is not visible to this user"]
    assert (revenue.level, "[mapping.salesforce.leads]" in revenue.mend) == ("error", True)
    assert "connector install salesforce" in by_what["Lead.Mine__c does not exist or is not visible to this user"].mend
    assert not any("CurrencyIsoCode" in what for what in by_what)


@responses.activate
def test_check_works_without_the_permission_to_ask_for_our_name() -> None:
    userinfo(status=403)
    told = Org(lambda part: described("Id")).connect().source.check([Request(LEADS, ())])
    assert told.signed_in_as == "a user whose name we may not read"
    assert told.findings == (Finding("ok", "reads Lead"),)


@responses.activate
def test_check_raises_when_the_credentials_are_refused() -> None:
    responses.post(f"{URL}/services/oauth2/token", status=400, json={"error": "invalid_client_id"})
    with pytest.raises(AuthError, match="invalid_client_id"):
        SALESFORCE.connect("salesforce", options()).source.check([Request(LEADS, ())])


@responses.activate
def test_objects_are_described_in_one_call_and_once() -> None:
    picklist = {
        "name": "Status",
        "type": "picklist",
        "label": "Lead Status",
        "updateable": True,
        "restrictedPicklist": True,
        "picklistValues": [{"value": "Open", "active": True}, {"value": "Old", "active": False}],
    }
    who = {"name": "WhoId", "type": "reference", "relationshipName": "Who", "referenceTo": ["Contact", "Lead"]}
    org = Org(lambda part: (200, {"fields": [picklist, who]}))
    source = org.connect().source
    told = source.describe(["Lead", "Task"])
    source.describe(["Task"])
    assert [len(call) for call in org.calls] == [2]
    status = told["Lead"].fields["Status"]
    assert (status.type, status.options, status.is_restricted, status.is_writable) == (
        "picklist",
        ("Open",),
        True,
        True,
    )
    assert {"Who.Type", "Who.Name"} <= set(told["Task"].fields)
    assert not told["Task"].fields["Who.Type"].is_writable


# --------------------------------------------------------------------------------------------------- install

SCORE = FieldSpec("Lead", "Score__c", "Score", "number")
GRADE = FieldSpec("Contact", "Grade__c", "Grade", "picklist", options=("A", "B & C"))
KEY = FieldSpec("Task", "Task_Key__c", "Task Key", "text", length=64, is_unique=True)


class Setup:
    """An org that takes deployments; what was deployed becomes visible when the permission set is assigned."""

    def __init__(self, *visible: dict[str, Any], deployed: dict[str, Any] | None = None) -> None:
        self.visible = list(visible)
        self.deployed = deployed or {"status": "Succeeded", "done": True}
        self.posted: list[tuple[str, bytes]] = []
        self.has_set = False
        self.is_assigned = False
        userinfo()
        self.org = Org(lambda part: (200, {"fields": self.visible}))
        base = f"{URL}{PREFIX}"
        responses.add_callback("GET", f"{base}query/", self._query)
        responses.add_callback("POST", f"{base}metadata/deployRequest", self._deploy)
        responses.add_callback("POST", f"{base}sobjects/PermissionSetAssignment", self._assign)
        states = iter([{"status": "InProgress", "done": False}])
        responses.add_callback(
            "GET",
            f"{base}metadata/deployRequest/0Af1",
            lambda _: (200, {}, orjson.dumps({"deployResult": next(states, self.deployed)})),
        )

    def _query(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        is_there = self.is_assigned if "PermissionSetAssignment" in (request.url or "") else self.has_set
        return 200, {}, orjson.dumps({"records": [{"Id": "0PS1"}] if is_there else []})

    def _deploy(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        assert isinstance(request.body, bytes)
        self.posted.append(("deploy", request.body))
        self.has_set = True
        return 201, {}, b'{"id":"0Af1"}'

    def _assign(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        assert isinstance(request.body, bytes)
        self.posted.append(("assign", request.body))
        self.is_assigned = True
        return 201, {}, b'{"id":"0Pa1","success":true}'

    def install(self, *specs: FieldSpec, is_dry: bool = False) -> list[InstallStep]:
        if not hasattr(self, "_system"):
            self._system: System = self.org.connect()
        assert self._system.target is not None
        return list(self._system.target.install(specs, is_dry=is_dry))


def seen(spec: FieldSpec, **changes: Any) -> dict[str, Any]:
    types = {"number": "double", "picklist": "picklist", "text": "string"}
    made = {"name": spec.name, "type": types[spec.type], "updateable": True, "length": spec.length}
    return made | {"unique": spec.is_unique, "picklistValues": [{"value": value} for value in spec.options]} | changes


@responses.activate
def test_a_dry_install_only_says_what_it_would_do() -> None:
    setup = Setup()
    assert [step.step for step in setup.install(SCORE, GRADE, KEY, is_dry=True)] == [Step.CREATE] * 3 + [Step.GRANT]
    assert setup.posted == []


@responses.activate
def test_install_deploys_once_and_assigns_the_permission_set_to_ourselves() -> None:
    setup = Setup()
    steps = setup.install(SCORE, KEY)
    assert [(step.step, step.what) for step in steps] == [
        (Step.CREATE, "Lead.Score__c"),
        (Step.CREATE, "Task.Task_Key__c"),
        (Step.GRANT, "permission set Connector"),
    ]
    assert [what for what, _ in setup.posted] == ["deploy", "assign"]
    assert orjson.loads(setup.posted[1][1]) == {"AssigneeId": "005A", "PermissionSetId": "0PS1"}


@responses.activate
def test_a_second_install_finds_everything_and_touches_nothing() -> None:
    setup = Setup()
    setup.install(SCORE, KEY)
    setup.visible = [seen(SCORE), seen(KEY)]
    setup.posted.clear()
    assert {step.step for step in setup.install(SCORE, KEY)} == {Step.EXISTS}
    assert setup.posted == []


@pytest.mark.parametrize(
    ("spec", "field", "step", "detail"),
    [
        (SCORE, seen(SCORE, type="string"), Step.DIFFERS, "is a text field, should be number"),
        (
            GRADE,
            seen(GRADE, picklistValues=[{"value": "A"}], restrictedPicklist=True),
            Step.DIFFERS,
            "lacks the values",
        ),
        (GRADE, seen(GRADE, picklistValues=[]), Step.EXISTS, ""),
        (KEY, seen(KEY, length=32), Step.DIFFERS, "holds 32 characters, should hold 64"),
        (KEY, seen(KEY, unique=False), Step.DIFFERS, "is not unique"),
        (SCORE, seen(SCORE, updateable=False), Step.GRANT, "cannot write it"),
    ],
)
@responses.activate
def test_a_field_that_is_there_is_compared_and_never_changed_silently(
    spec: FieldSpec, field: dict[str, Any], step: Step, detail: str
) -> None:
    (first, *_) = Setup(field).install(spec, is_dry=True)
    assert first.step is step
    assert detail in first.detail


@responses.activate
def test_a_failed_deployment_names_what_failed_and_assigns_nothing() -> None:
    failure = {"fullName": "Lead.Score__c", "problem": "too many custom fields"}
    setup = Setup(deployed={"status": "Failed", "done": True, "details": {"componentFailures": [failure]}})
    last = setup.install(SCORE)[-1]
    assert (last.step, last.what, last.detail) == (Step.FAILED, "Lead.Score__c", "too many custom fields")
    assert [what for what, _ in setup.posted] == ["deploy"]


def files(*specs: FieldSpec) -> dict[str, ElementTree.Element]:
    with zipfile.ZipFile(io.BytesIO(package(specs, "62.0"))) as archive:
        return {name: ElementTree.fromstring(archive.read(name)) for name in archive.namelist()}


def texts(root: ElementTree.Element, path: str) -> list[str]:
    steps = "/".join(f"{{{NAMESPACE}}}{step}" for step in path.split("/"))
    return [found.text or "" for found in root.findall(steps)]


def test_the_zip_defines_the_fields_where_they_belong_and_grants_them_where_they_show() -> None:
    made = files(SCORE, GRADE, KEY)
    assert sorted(made) == [
        "objects/Activity.object",
        "objects/Contact.object",
        "objects/Lead.object",
        "package.xml",
        "permissionsets/Connector.permissionset",
    ]
    assert texts(made["package.xml"], "types/members") == [
        "Lead.Score__c",
        "Contact.Grade__c",
        "Activity.Task_Key__c",
        "Connector",
    ]
    granted = texts(made["permissionsets/Connector.permissionset"], "fieldPermissions/field")
    assert granted == ["Contact.Grade__c", "Event.Task_Key__c", "Lead.Score__c", "Task.Task_Key__c"]
    assert texts(made["objects/Lead.object"], "fields/precision") == ["5"]
    assert texts(made["objects/Lead.object"], "fields/scale") == ["1"]
    assert texts(made["objects/Activity.object"], "fields/unique") == ["true"]
    assert texts(made["objects/Activity.object"], "fields/externalId") == ["true"]
    values = "fields/valueSet/valueSetDefinition/value/fullName"
    assert texts(made["objects/Contact.object"], values) == ["A", "B & C"]


def test_the_permission_set_lets_us_edit_people_and_only_read_the_rest() -> None:
    made = files(SCORE)["permissionsets/Connector.permissionset"]
    names, edits = texts(made, "objectPermissions/object"), texts(made, "objectPermissions/allowEdit")
    assert {name for name, edit in zip(names, edits, strict=True) if edit == "true"} == {"Lead", "Contact"}
    assert "Account" in names
    assert set(texts(made, "objectPermissions/allowDelete")) == {"false"}


def test_the_same_fields_make_the_same_zip_and_a_shared_activity_field_is_defined_once() -> None:
    event_key = FieldSpec("Event", KEY.name, KEY.label, "text", length=64, is_unique=True)
    assert package([SCORE, KEY], "62.0") == package([SCORE, KEY], "62.0")
    made = files(KEY, event_key)
    assert texts(made["objects/Activity.object"], "fields/fullName") == ["Task_Key__c"]
    assert texts(made["package.xml"], "types/members") == ["Activity.Task_Key__c", "Connector"]


def test_the_date_of_the_double_is_the_servers_now() -> None:
    assert SERVER_NOW.strftime("%a, %d %b %Y %H:%M:%S GMT") == DATE
