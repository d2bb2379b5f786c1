"""The systems that the connector can talk to: one declaration each, in one tuple."""

from __future__ import annotations

from connector.model import Adapter
from connector.sources.hubspot import HUBSPOT
from connector.sources.memory import MEMORY
from connector.sources.salesforce import SALESFORCE

ADAPTERS: tuple[Adapter, ...] = (SALESFORCE, HUBSPOT, MEMORY)
