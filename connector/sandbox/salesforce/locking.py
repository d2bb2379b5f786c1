"""Row locks: while a write is under way, nobody else may write its record or the children of the same parent.

A write locks the account of a contact, opportunity or case, the person and subject of an activity, the campaign of a member
("Record Locking Cheat Sheet", Salesforce Developers Blog). The real org waits ten seconds for a lock; this one refuses at once.
Nothing is locked unless `salesforce_chunk_s` says that writing takes time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.sandbox.salesforce.refusal import RefusedError

LOCKED_PARENTS = {
    "Contact": ("AccountId",),
    "Opportunity": ("AccountId",),
    "Case": ("AccountId", "ContactId"),
    "Task": ("WhoId", "WhatId"),
    "Event": ("WhoId", "WhatId"),
    "CampaignMember": ("CampaignId",),
    "OpportunityContactRole": ("OpportunityId",),
}


class Locks:
    """Who holds which record. `holder` is the request that is being answered."""

    def __init__(self) -> None:
        self.holder: object | None = None
        self._held: dict[str, object] = {}

    def take(self, object_name: str, native: str | None, row: Mapping[str, Any]) -> None:
        """Lock a record and its parents for the present request; raises UNABLE_TO_LOCK_ROW."""
        if self.holder is None and not self._held:
            return
        wanted = [native, *(row.get(name) for name in LOCKED_PARENTS.get(object_name, ()))]
        for each in wanted:
            if each is not None and self._held.get(each, self.holder) is not self.holder:
                raise RefusedError(
                    "UNABLE_TO_LOCK_ROW", f"unable to obtain exclusive access to this record or 1 records: {each}"
                )
        if self.holder is not None:
            self._held.update((each, self.holder) for each in wanted if each is not None)

    def release(self, holder: object) -> None:
        """The request is over."""
        self._held = {native: other for native, other in self._held.items() if other is not holder}
