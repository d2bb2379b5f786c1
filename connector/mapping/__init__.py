"""Native rows to canonical records, identifiers and activities, by mappings that are data.

    load -> available -> apply

`load` lays the admin's sections over the shipped presets, `validate` and `notes` hold them against what the system
shows, `available` leaves out what it does not, and `apply` maps a group of rows as columns. All of it is pure.
"""

from connector.mapping.mapped import Mapped, apply
from connector.mapping.section import MappingSection
from connector.mapping.streams import StreamMapping, available, load, notes, validate

__all__ = ["Mapped", "MappingSection", "StreamMapping", "apply", "available", "load", "notes", "validate"]
