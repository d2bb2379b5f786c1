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
        told += _looks([each for each in batches if each[0].task is not None], key)
        for each in batches:
            if moves_back and each[0].task is None and any(LIFECYCLE in change.fields for change in each):
                known = definitions.of(each[0].object_type)
                told += any(goes_back(change, known) for change in each)
    except ConnectorError:  # the definitions cannot be read now: delivering says so
        return told
    return told


def _looks(batches: Batches, key: TaskKey) -> int:
    """What batches of tasks take besides their calls: who has which tasks, for each type of record, and their keys."""
    mode = key.mode() if batches else KeyMode.UNIQUE
    if mode is KeyMode.PLAIN:  # known by now and kept, so that delivering asks for no definitions
        return sum(len({change.object_type for change in each}) + 1 for each in batches) - 1
    return -len(batches) if mode is KeyMode.ABSENT else 0  # none is sent
