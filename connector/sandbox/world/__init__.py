"""Harbourline, an invented vendor of warehouse software, and the traces its customers left in two CRMs.

`generate()` gives the same bytes for the same arguments: `python -c` in two processes with other hash seeds agree.
Who is truly one person is kept in `World.truth`; which rows are dirty, and how, in `World.dirt`.
"""

from connector.sandbox.world.generation import generate
from connector.sandbox.world.model import LOGIN_EVENT, PORTAL_ID, CastMember, HubSpotWorld, World

__all__ = ["LOGIN_EVENT", "PORTAL_ID", "CastMember", "HubSpotWorld", "World", "generate"]
