"""What delivering to a portal takes in calls, when nothing is refused, lost or there already.

One call for each batch and one for the properties of each object type. This portal and its configuration may ask for
more: a look at whose portal it is, a lifecycle stage that is cleared first, a look for tasks whose key is not unique.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.errors import ConnectorError
from connector.model import Change
from connector.sources.hubspot_tasks import KeyMode, TaskKey
from connector.sources.hubspot_values import LIFECYCLE, Definitions, goes_back

Batches = Sequence[Sequence[Change]]


def count_calls(batches: Batches) -> int:
    """The calls of these batches at a portal of which nothing is known."""
    written = {"tasks" if change.task else change.object_type for each in batches for change in each}
    return len(batches) + len(written)


def counted(batches: Batches, definitions: Definitions, key: TaskKey, *, asks_portal: bool, moves_back: bool) -> int:
    """The calls of these batches at a portal; asks for the definitions of properties where they decide it.

    asks_portal: the first call finds out whose portal it is. moves_back: lifecycle stages are cleared before they go back.
    """
    told = count_calls(batches) + (asks_portal and bool(batches))
    try:
        for each in batches:
            if each[0].task is not None:
                told += _looks(each, key.mode())
            elif moves_back and any(LIFECYCLE in change.fields for change in each):
                known = definitions.of(each[0].object_type)
                told += any(goes_back(change, known) for change in each)
    except ConnectorError:  # the definitions cannot be read now: delivering says so
        return told
    return told


def _looks(batch: Sequence[Change], mode: KeyMode) -> int:
    """What a batch of tasks takes besides its call: who has which tasks, for each type of record, and their keys."""
    if mode is KeyMode.ABSENT:
        return -1  # none is sent
    return len({change.object_type for change in batch}) + 1 if mode is KeyMode.PLAIN else 0
