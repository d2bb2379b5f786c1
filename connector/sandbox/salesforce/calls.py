"""A call to the REST API inside the sandbox, whether it came by HTTP or as a subrequest, and its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.salesforce.org import Access, Org
from connector.sandbox.salesforce.soql import MAX_PAGE_ROWS, MIN_PAGE_ROWS, Queries, Reader
from connector.sandbox.salesforce.writing import Author


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `path` begins after the version, `headers` have lower-case names, `body` is parsed JSON (or bytes)."""

    org: Org
    queries: Queries
    access: Access
    version: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None

    @property
    def base(self) -> str:
        """Path of the REST API in this version."""
        return f"/services/data/v{self.version}"

    @property
    def author(self) -> Author:
        """Who writes, and how, by the headers."""
        options = self.headers.get("sforce-duplicate-rule-header", "").lower().replace(" ", "").replace(",", ";")
        return Author(
            self.access,
            runs_assignment_rules=self.headers.get("sforce-auto-assign", "TRUE").strip().upper() != "FALSE",
            saves_duplicates="allowsave=true" in options.split(";"),
        )

    @property
    def reader(self) -> Reader:
        """Who reads, and how, by the headers (`Sforce-Query-Options: batchSize=200`)."""
        rows = self.org.context.settings.salesforce_page_rows
        for option in self.headers.get("sforce-query-options", "").replace(",", ";").split(";"):
            name, _, value = option.partition("=")
            if name.strip().lower() == "batchsize" and value.strip().isdigit():
                rows = min(rows, max(int(value), MIN_PAGE_ROWS))
        return Reader(self.access, self.version, min(rows, MAX_PAGE_ROWS))


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON body (None = empty), further headers, how many records and calls it stands for, and the pieces of a
    body that is no JSON (CSV where the headers do not say otherwise), which are made as they are sent."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    cost: int = 1
    pieces: Iterator[bytes] | None = None
