"""Bulk API 2.0 of the imitated org: query jobs and ingest jobs, with the dialect, the states and the refusals of the real one."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.salesforce_org import OrgClient, custom_object, org, permission_set

KEYED = custom_object(
    "<fields><fullName>Key__c</fullName><label>Key</label><type>Text</type><length>20</length>"
    "<externalId>true</externalId></fields>"
)


@pytest.fixture(scope="module")
def server() -> Iterator[OrgClient]:
    with org() as opened:
        opened.deploy(
            {
                "objects/Campaign.object": KEYED,
                "permissionsets/Keys.permissionset": permission_set("Campaign.Key__c"),
            }
        )
        opened.assign("Keys")
        yield opened


def read_csv(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def ended(server: OrgClient, kind: str, job_id: str) -> Any:
    """The job when it has ended; every poll lets it go on."""
    for _ in range(200):
        job = server.call("GET", f"/jobs/{kind}/{job_id}")
        if job["state"] in ("JobComplete", "Failed", "Aborted"):
            return job
    raise AssertionError(job)


def query_job(server: OrgClient, soql: str, **more: Any) -> str:
    made = server.call("POST", "/jobs/query", {"operation": "query", "query": soql, **more})
    assert made["state"] == "UploadComplete"
    assert "jobType" not in made
    return str(made["id"])


def ingest_job(server: OrgClient, operation: str, content: str, kind: str = "Campaign", **more: Any) -> Any:
    made = server.call("POST", "/jobs/ingest", {"object": kind, "operation": operation, "contentType": "CSV", **more})
    assert made["contentUrl"] == f"services/data/v62.0/jobs/ingest/{made['id']}/batches"
    upload = server.raw(
        "PUT", f"/{made['contentUrl']}", data=content.encode(), headers={"Content-Type": "text/csv; charset=UTF-8"}
    )
    assert (upload.status_code, upload.content) == (201, b"")
    server.call("PATCH", f"/jobs/ingest/{made['id']}", {"state": "UploadComplete"})
    return ended(server, "ingest", made["id"])


def outcome(server: OrgClient, job: Any, which: str) -> list[list[str]]:
    answer = server.raw("GET", f"/jobs/ingest/{job['id']}/{which}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    return read_csv(answer.content.decode())


def add_campaigns(server: OrgClient, prefix: str, count: int) -> None:
    rows = "".join(f"{prefix} {number}\n" for number in range(count))
    assert ingest_job(server, "insert", f"Name\n{rows}")["numberRecordsProcessed"] == count


def test_a_query_gives_quoted_csv_with_the_values_as_bulk_writes_them(server: OrgClient) -> None:
    lead = server.lead(LastName='O"Neill, Jr', Description="two\nlines", AnnualRevenue=1000, NumberOfEmployees=7)
    job = query_job(
        server,
        "SELECT Id, lastname, Description, FirstName, AnnualRevenue, NumberOfEmployees, IsConverted, CreatedDate, Owner.Name "
        f"FROM Lead WHERE Id = '{lead}'",
    )
    state = ended(server, "query", job)
    assert (state["state"], state["numberRecordsProcessed"], state["jobType"]) == ("JobComplete", 1, "V2Query")
    answer = server.raw("GET", f"/jobs/query/{job}/results", headers={"Accept": "text/csv"})
    assert answer.headers["Sforce-NumberOfRecords"] == "1"
    assert answer.headers["Sforce-Locator"] == "null"
    assert answer.text.startswith('"Id","LastName","Description","FirstName","AnnualRevenue"')
    header, row = read_csv(answer.text)
    assert header[-1] == "Owner.Name"
    assert row[:7] == [lead, 'O"Neill, Jr', "two\nlines", "", "1000.0", "7", "false"]
    assert row[7].endswith(".000Z")
    assert row[8] == "Integration User"


def test_results_come_page_by_page_and_pages_can_be_read_again_or_at_the_same_time(server: OrgClient) -> None:
    add_campaigns(server, "Paged", 25)
    job = query_job(server, "SELECT Name FROM Campaign WHERE Name LIKE 'Paged %'")
    ended(server, "query", job)
    names: list[str] = []
    locator, pages = "", 0
    while locator != "null":
        answer = server.raw("GET", f"/jobs/query/{job}/results", params={"maxRecords": 10, "locator": locator})
        rows = read_csv(answer.text)
        assert rows[0] == ["Name"]
        assert len(rows) - 1 == int(answer.headers["Sforce-NumberOfRecords"])
        names += [row[0] for row in rows[1:]]
        locator, pages = answer.headers["Sforce-Locator"], pages + 1
    assert pages == 3
    assert sorted(names) == sorted(f"Paged {number}" for number in range(25))
    server.admin("POST", "/limits", {"enabled": True, "salesforce_bulk_page_rows": 4})
    first = server.call("GET", f"/jobs/query/{job}/resultPages")
    assert (len(first["resultPages"]), first["done"]) == (5, False)
    last = server.call("GET", first["nextRecordsUrl"])
    assert (len(last["resultPages"]), last["done"], last["nextRecordsUrl"]) == (2, True, None)
    again = [
        row[0]
        for link in (*first["resultPages"], *last["resultPages"])
        for row in read_csv(server.raw("GET", link["resultUrl"]).text)[1:]
    ]
    assert again == names
    server.admin("POST", "/limits", {"enabled": True, "salesforce_bulk_page_rows": 50_000})


def test_the_result_is_what_the_rows_were_when_the_job_ran(server: OrgClient) -> None:
    native = server.create("Campaign", Name="Before")
    job = query_job(server, f"SELECT Name FROM Campaign WHERE Id = '{native}'")
    ended(server, "query", job)
    server.call("PATCH", f"/sobjects/Campaign/{native}", {"Name": "After"}, 204)
    assert read_csv(server.raw("GET", f"/jobs/query/{job}/results").text)[1] == ["Before"]


def test_query_all_sees_deleted_rows_and_query_does_not(server: OrgClient) -> None:
    native = server.create("Campaign", Name="Gone soon")
    server.call("DELETE", f"/sobjects/Campaign/{native}", status=204)
    found = {}
    for operation in ("query", "queryAll"):
        body = {"operation": operation, "query": f"SELECT Id, IsDeleted FROM Campaign WHERE Id = '{native}'"}
        job = server.call("POST", "/jobs/query", body)["id"]
        found[operation] = ended(server, "query", job)["numberRecordsProcessed"]
    assert found == {"query": 0, "queryAll": 1}


def test_an_empty_result_is_the_header_row(server: OrgClient) -> None:
    job = query_job(server, "SELECT Id, Name FROM Campaign WHERE Name = 'nobody'")
    ended(server, "query", job)
    answer = server.raw("GET", f"/jobs/query/{job}/results")
    assert answer.text == '"Id","Name"\n'
    assert answer.headers["Sforce-NumberOfRecords"] == "0"


@pytest.mark.parametrize(("name", "sign"), [("BACKQUOTE", "`"), ("TAB", "\t"), ("PIPE", "|"), ("SEMICOLON", ";")])
def test_delimiters_and_line_endings_are_the_jobs_own(server: OrgClient, name: str, sign: str) -> None:
    job = query_job(server, "SELECT Name, IsActive FROM User LIMIT 1", columnDelimiter=name, lineEnding="CRLF")
    ended(server, "query", job)
    text = server.raw("GET", f"/jobs/query/{job}/results").content.decode()
    assert text.startswith(f'"Name"{sign}"IsActive"\r\n')
    assert text.endswith('"true"\r\n')


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT COUNT() FROM Lead", "API_ERROR"),
        ("SELECT Status, COUNT(Id) n FROM Lead GROUP BY Status", "API_ERROR"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "API_ERROR"),
        ("SELECT TYPEOF Who WHEN Lead THEN Company END FROM Task", "API_ERROR"),
        ("SELECT Id FROM Lead LIMIT 5 OFFSET 5", "API_ERROR"),
        ("SELECT Address FROM Lead", "API_ERROR"),
        ("SELECT Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id FROM", "MALFORMED_QUERY"),
    ],
)
def test_what_bulk_cannot_query_is_refused_when_the_job_is_created(server: OrgClient, soql: str, code: str) -> None:
    answer = server.call("POST", "/jobs/query", {"operation": "query", "query": soql}, 400)
    assert answer[0]["errorCode"] == code


def test_results_belong_to_the_version_that_created_the_job_and_links_begin_with_58(server: OrgClient) -> None:
    job = query_job(server, "SELECT Id FROM User")
    ended(server, "query", job)
    assert server.raw("GET", f"/services/data/v61.0/jobs/query/{job}/results").status_code == 409
    assert server.raw("GET", f"/services/data/v61.0/jobs/query/{job}/resultPages").status_code == 409
    assert server.raw("GET", f"/services/data/v57.0/jobs/query/{job}/resultPages").status_code == 404
    assert (
        server.call("GET", f"/jobs/query/{job}/results", status=400, params={"locator": "nonsense"})[0]["errorCode"]
        == "INVALID_QUERY_LOCATOR"
    )


def test_a_job_waits_its_turn_can_be_aborted_and_is_deleted_only_when_it_has_ended(server: OrgClient) -> None:
    server.admin("POST", "/limits", {"enabled": True, "salesforce_bulk_delay_s": 60})
    job = query_job(server, "SELECT Id FROM User")
    assert server.call("GET", f"/jobs/query/{job}")["state"] == "UploadComplete"
    assert server.raw("GET", f"/jobs/query/{job}/results").status_code == 204
    assert server.call("DELETE", f"/jobs/query/{job}", status=400)[0]["errorCode"] == "INVALIDJOBSTATE"
    other = query_job(server, "SELECT Id FROM User")
    assert server.call("PATCH", f"/jobs/query/{other}", {"state": "Aborted"})["state"] == "Aborted"
    server.admin("POST", "/clock", {"shift_s": 61})
    assert ended(server, "query", job)["state"] == "JobComplete"
    assert server.call("PATCH", f"/jobs/query/{job}", {"state": "Aborted"}, 400)[0]["errorCode"] == "INVALIDJOBSTATE"
    listed = server.call("GET", "/jobs/query")
    assert listed["done"] is True
    assert [each["id"] for each in listed["records"][:2]] == [other, job]
    deleted = server.raw("DELETE", f"/jobs/query/{job[:15]}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert server.raw("GET", f"/jobs/query/{job}").status_code == 404
    server.admin("POST", "/limits", {"enabled": True, "salesforce_bulk_delay_s": 0})


def test_results_are_gone_after_seven_days() -> None:
    with org() as opened:
        job = query_job(opened, "SELECT Id FROM User")
        ended(opened, "query", job)
        opened.admin("POST", "/clock", {"shift_s": 7 * 86_400 + 60})
        opened.sign_in()
        assert opened.raw("GET", f"/jobs/query/{job}/results").status_code == 404


def test_an_ingest_tells_each_row_what_became_of_it(server: OrgClient) -> None:
    content = (
        'Name,BudgetedCost,IsActive,StartDate\n"A, ""b""",10.6,true,2026-01-02\n,1,false,\nC,many,false,\nD,#N/A,,\n'
    )
    job = ingest_job(server, "insert", content)
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 4, 2)
    good, bad = outcome(server, job, "successfulResults"), outcome(server, job, "failedResults")
    assert good[0] == ["sf__Id", "sf__Created", "Name", "BudgetedCost", "IsActive", "StartDate"]
    assert [row[1:3] for row in good[1:]] == [["true", 'A, "b"'], ["true", "D"]]
    assert good[1][0].startswith("701")
    assert server.field("Campaign", good[1][0], "BudgetedCost") == 11
    assert bad[0][:2] == ["sf__Id", "sf__Error"]
    assert bad[1][:2] == ["", "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"]
    assert bad[2][1].startswith("INVALID_TYPE_ON_FIELD_IN_RECORD:")
    for spelling in ("unprocessedrecords", "unprocessedRecords"):
        assert outcome(server, job, spelling) == [["Name", "BudgetedCost", "IsActive", "StartDate"]]


def test_an_empty_value_is_left_alone_and_the_sign_for_null_clears_it(server: OrgClient) -> None:
    native = server.create("Campaign", Name="Keep", Type="Email", Description="old")
    job = ingest_job(server, "update", f"Id,Type,Description\n{native[:15]},,#N/A\n")
    assert job["numberRecordsFailed"] == 0
    assert server.field("Campaign", native, "Type") == "Email"
    assert server.field("Campaign", native, "Description") is None


def test_an_upsert_creates_updates_and_refuses_doubtful_keys(server: OrgClient) -> None:
    for number in (1, 2):
        server.create("Campaign", Name=f"Twin {number}", Key__c="twin")
    known = server.create("Campaign", Name="Known", Key__c="known")
    content = "Key__c,Name\nknown,Changed\nnew,New\ntwin,Which\nsame,One\nSAME,Two\n,None\n"
    job = ingest_job(server, "upsert", content, externalIdFieldName="Key__c")
    good, bad = outcome(server, job, "successfulResults"), outcome(server, job, "failedResults")
    assert [row[1:3] for row in good[1:]] == [["false", "known"], ["true", "new"]]
    assert good[1][0] == known
    assert [row[1].split(":")[0] for row in bad[1:]] == [
        "DUPLICATE_EXTERNAL_ID",
        "DUPLICATE_VALUE",
        "DUPLICATE_VALUE",
        "MISSING_ARGUMENT",
    ]


def test_references_are_found_by_the_external_id_of_their_target(server: OrgClient) -> None:
    contact = server.create("Contact", LastName="Keyed", Customer_Number__c="B-1")
    task = ingest_job(server, "insert", "Subject,Who.Customer_Number__c\nCall,B-1\n", kind="Task")
    assert task["errorMessage"] == "InvalidBatch : type is needed for polymorphic foreign key references: Who"
    task = ingest_job(server, "insert", "Subject,Contact:Who.Customer_Number__c\nCall,B-1\n", kind="Task")
    assert server.field("Task", outcome(server, task, "successfulResults")[1][0], "WhoId") == contact
    boss = ingest_job(server, "insert", "LastName,ReportsTo.Customer_Number__c\nUnder,B-1\n", kind="Contact")
    created = outcome(server, boss, "successfulResults")[1][0]
    assert server.field("Contact", created, "ReportsToId") == contact


def test_an_ingest_job_is_deleted_once_it_is_open_no_more(server: OrgClient) -> None:
    job = server.call("POST", "/jobs/ingest", {"object": "Campaign", "operation": "insert"})["id"]
    assert server.call("DELETE", f"/jobs/ingest/{job}", status=400)[0]["errorCode"] == "INVALIDJOBSTATE"
    server.call("PATCH", f"/jobs/ingest/{job}", {"state": "Aborted"})
    server.call("DELETE", f"/jobs/ingest/{job}", status=204)


def test_deletes_go_to_the_recycle_bin_and_hard_deletes_need_a_permission(server: OrgClient) -> None:
    native = server.create("Campaign", Name="Bin")
    job = ingest_job(server, "delete", f"Id\n{native}\n{native}\n701\n")
    assert [row[1].split(":")[0] for row in outcome(server, job, "failedResults")[1:]] == [
        "ENTITY_IS_DELETED",
        "MALFORMED_ID",
    ]
    assert server.query(f"SELECT Id FROM Campaign WHERE Id = '{native}'", every=True)["totalSize"] == 1
    wanted = {"object": "Campaign", "operation": "hardDelete"}
    assert server.call("POST", "/jobs/ingest", wanted, 400)[0]["errorCode"] == "FEATURENOTENABLED"
    permission = server.query("SELECT Id FROM PermissionSet WHERE Name = 'Keys'")["records"][0]["Id"]
    granted = {"PermissionsBulkApiHardDelete": True}
    server.call("PATCH", f"/sobjects/PermissionSet/{permission}", granted, 204)
    other = server.create("Campaign", Name="Erased")
    assert ingest_job(server, "hardDelete", f"Id\n{other}\n")["numberRecordsFailed"] == 0
    assert server.query(f"SELECT Id FROM Campaign WHERE Id = '{other}'", every=True)["totalSize"] == 0


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (
            "Name\r\nA\r\n",
            {},
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        ("Name\nA\n", {"lineEnding": "CRLF"}, "ClientInputError : LineEnding is invalid on user data"),
        ("Name,Nope\nA,B\n", {}, "InvalidBatch : Field name not found : Nope"),
        ("﻿Name\nA\n", {}, "InvalidBatch : Field name not found : "),
        ("Name;Type\nA;B\n", {}, "InvalidBatch : Field name not found : Name;Type"),
        ("Name,Type\nA\n", {}, "InvalidBatch : The number of columns in row 2"),
        ("Id,Name\nx,y\n", {"operation": "delete"}, "InvalidBatch : The 'delete' batch must contain only ids"),
        ("Name\nA\n", {"operation": "update"}, "InvalidBatch : Field name not found : Id"),
    ],
)
def test_content_that_cannot_be_read_fails_the_job(
    server: OrgClient, content: str, more: dict[str, Any], message: str
) -> None:
    job = ingest_job(server, **{"operation": "insert", "content": content, **more})
    assert job["state"] == "Failed"
    assert job["errorMessage"].startswith(message)


def test_a_failed_job_gives_back_the_rows_that_it_did_not_reach(server: OrgClient) -> None:
    rows = "".join(f"Row {number}\n" for number in range(450))
    job = ingest_job(server, "insert", f"Name\n{rows}too,many\nNever\n")
    assert (job["state"], job["numberRecordsProcessed"]) == ("Failed", 400)
    assert len(outcome(server, job, "successfulResults")) == 401
    assert outcome(server, job, "unprocessedrecords")[0] == ["Name"]


def test_content_is_taken_once_chunked_or_compressed_and_only_while_the_job_is_open(server: OrgClient) -> None:
    made = server.call("POST", "/jobs/ingest", {"object": "Campaign", "operation": "insert"})
    path, told = f"/jobs/ingest/{made['id']}", {"Content-Type": "text/csv"}
    packed = {**told, "Content-Encoding": "gzip"}
    assert (
        server.raw("PUT", f"{path}/batches", data=gzip.compress(b"Name\nPacked\n"), headers=packed).status_code == 201
    )
    second = server.raw("PUT", f"{path}/batches", data=b"Name\nAgain\n", headers=told)
    assert second.status_code == 400
    assert second.json()[0]["message"].startswith("Found multiple contents for job")
    server.call("PATCH", path, {"state": "UploadComplete"})
    assert ended(server, "ingest", made["id"])["numberRecordsProcessed"] == 1
    assert server.raw("PUT", f"{path}/batches", data=b"x", headers=told).json()[0]["errorCode"] == "INVALIDJOBSTATE"
    assert server.call("PATCH", path, {"state": "UploadComplete"}, 400)[0]["errorCode"] == "INVALIDJOBSTATE"
    other = server.call("POST", "/jobs/ingest", {"object": "Campaign", "operation": "insert"})
    pieces = iter([b"Name\nPie", b"ce by piece\n"])
    sent = server.raw("PUT", f"/jobs/ingest/{other['id']}/batches/", data=pieces, headers=told)
    assert sent.status_code == 201
    assert server.raw("GET", f"/jobs/ingest/{other['id']}/successfulResults").status_code == 204
    server.call("PATCH", f"/jobs/ingest/{other['id']}", {"state": "Aborted"})
    assert outcome(server, other, "unprocessedrecords") == [["Name"], ["Piece by piece"]]


def test_a_small_job_is_created_uploaded_and_closed_in_one_call(server: OrgClient) -> None:
    told = json.dumps({"object": "Campaign", "operation": "insert", "contentType": "CSV"})
    parts = {"job": (None, told, "application/json"), "content": ("content", "Name\nMultipart\n", "text/csv")}
    made = server.raw("POST", "/jobs/ingest", files=parts).json()
    assert made["state"] == "UploadComplete"
    assert ended(server, "ingest", made["id"])["numberRecordsProcessed"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"object": "Nope", "operation": "insert"}, "INVALIDENTITY"),
        ({"object": "Lead", "operation": "merge"}, "INVALIDJOB"),
        ({"object": "Lead", "operation": "upsert"}, "INVALIDJOB"),
        ({"object": "Lead", "operation": "upsert", "externalIdFieldName": "LastName"}, "INVALIDJOB"),
        ({"object": "Lead", "operation": "insert", "columnDelimiter": "DOT"}, "INVALIDJOB"),
    ],
)
def test_jobs_that_make_no_sense_are_not_created(server: OrgClient, body: dict[str, Any], code: str) -> None:
    assert server.call("POST", "/jobs/ingest", body, 400)[0]["errorCode"] == code


def test_assignment_rules_run_only_when_the_job_names_one_and_locks_fail_single_rows(server: OrgClient) -> None:
    quiet = ingest_job(server, "insert", "LastName,Company\nA,Acme\n", kind="Lead")
    loud = ingest_job(
        server, "insert", "LastName,Company\nB,Acme\n", kind="Lead", assignmentRuleId="01Q000000000001AAA"
    )
    owners = [
        server.field("Lead", outcome(server, job, "successfulResults")[1][0], "OwnerId")[:3] for job in (quiet, loud)
    ]
    assert owners == ["005", "00G"]
    lead = outcome(server, quiet, "successfulResults")[1][0]
    server.fault("row_lock", match=lead, times=1)
    job = ingest_job(server, "update", f"Id,Title\n{lead},Boss\n", kind="Lead")
    assert outcome(server, job, "failedResults")[1][:2] == [
        lead,
        f"UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: {lead}:--",
    ]


def test_each_request_of_a_job_is_one_call_and_limits_count_jobs(server: OrgClient) -> None:
    before = server.admin("GET", "/calls")
    left = server.call("GET", "/limits")
    job = query_job(server, "SELECT Id FROM User")
    server.raw("GET", f"/jobs/query/{job}/results")
    server.raw("DELETE", f"/jobs/query/{job}")
    ingest_job(server, "insert", "Name\nCounted\n")
    calls = server.admin("GET", f"/calls?since={before['last_id']}")
    assert calls["cost"] == calls["calls"]
    patterns = {(row["method"], row["path"]) for row in calls["by_path"]}
    assert ("PUT", "/services/data/v62.0/jobs/ingest/{id}/batches") in patterns
    now = server.call("GET", "/limits")
    for name in ("DailyBulkV2QueryJobs", "DailyBulkApiBatches"):
        assert left[name]["Remaining"] - now[name]["Remaining"] == 1
