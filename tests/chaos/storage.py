"""What both imitated systems hold, read from the sandbox's own file: neither faults nor our code stand between."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.crm import HUBSPOT_FIELDS, SALESFORCE_FIELDS

Values = dict[str, Any]


@dataclass(frozen=True)
class Storage:
    """The database of a sandbox at work."""

    file: Path

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        connection = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def people(self) -> dict[str, Values]:
        """All live people by record key, with everything that the systems hold of them."""
        found: dict[str, Values] = {}
        for name in ("Lead", "Contact"):
            condition = " AND IsConverted = 0" if name == "Lead" else ""
            for row in self.rows(f"SELECT * FROM sf_{name} WHERE IsDeleted = 0{condition}"):
                found[f"salesforce|{name}|{row['Id']}"] = dict(row)
        for row in self.rows("SELECT id, properties FROM hubspot_contacts WHERE archived_ms IS NULL"):
            found[f"hubspot|contacts|{row['id']}"] = json.loads(row["properties"])
        return found

    def departed(self) -> dict[str, Values]:
        """All deleted people by record key, with what they were deleted with."""
        found: dict[str, Values] = {}
        for name in ("Lead", "Contact"):
            for row in self.rows(f"SELECT * FROM sf_{name} WHERE IsDeleted = 1"):
                found[f"salesforce|{name}|{row['Id']}"] = dict(row)
        for row in self.rows("SELECT id, properties FROM hubspot_contacts WHERE archived_ms IS NOT NULL"):
            found[f"hubspot|contacts|{row['id']}"] = json.loads(row["properties"])
        return found

    def converted(self) -> dict[str, str]:
        """The contact that each converted lead became; of contacts that were merged since, the survivor."""
        rows = self.rows(
            "SELECT Id, ConvertedContactId FROM sf_Lead WHERE IsConverted = 1 AND ConvertedContactId IS NOT NULL"
        )
        return {f"salesforce|Lead|{row['Id']}": f"salesforce|Contact|{row['ConvertedContactId']}" for row in rows}

    def written(self) -> dict[str, Values]:
        """Our fields of all live people, by record key."""
        names = {"salesforce": SALESFORCE_FIELDS, "hubspot": HUBSPOT_FIELDS}
        return {
            record: {name: values.get(name) for name in names[record.split("|")[0]]}
            for record, values in self.people().items()
        }

    def tasks(self) -> list[Values]:
        """Every task that carries our key, those in the bins too: system, id, key, subject, due, who, is_live."""
        query = (
            "SELECT Id, Task_Key__c, Subject, ActivityDate, WhoId, IsDeleted FROM sf_Task WHERE Task_Key__c IS NOT NULL"
        )
        made = [
            {"system": "salesforce", "id": row["Id"], "key": row["Task_Key__c"], "subject": row["Subject"],
             "due": row["ActivityDate"], "who": row["WhoId"], "is_live": not row["IsDeleted"]}
            for row in self.rows(query)
        ]  # fmt: skip
        links = {
            str(row["from_id"]): str(row["to_id"])
            for row in self.rows("SELECT from_id, to_id FROM hubspot_link WHERE from_type = 'tasks' AND to_type = 'contacts'")
        }  # fmt: skip
        for row in self.rows("SELECT id, properties, archived_ms FROM hubspot_tasks"):
            values = json.loads(row["properties"])
            if values.get("connector_task_key"):
                made.append(
                    {"system": "hubspot", "id": str(row["id"]), "key": values["connector_task_key"],
                     "subject": values.get("hs_task_subject"), "due": values.get("hs_timestamp"),
                     "who": links.get(str(row["id"])), "is_live": row["archived_ms"] is None}
                )  # fmt: skip
        return made

    def merged(self) -> dict[str, str]:
        """The record that each contact lives on in that HubSpot merged away, to which it also lets through what is sent to the old id."""
        rows = self.rows("SELECT old_id, new_id FROM hubspot_merged WHERE object_type = 'contacts'")
        return {f"hubspot|contacts|{row['old_id']}": f"hubspot|contacts|{row['new_id']}" for row in rows}

    def firings(self) -> list[Values]:
        """What the systems' own workflows did."""
        return [dict(row) for row in self.rows("SELECT * FROM workflow_firing ORDER BY id")]
