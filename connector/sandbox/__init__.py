"""Two imitated CRMs on loopback, with the vendors' answers, limits and faults, so that no account is needed."""

from connector.sandbox.database import InUse
from connector.sandbox.server import Options, Running, serve, serving

__all__ = ["InUse", "Options", "Running", "serve", "serving"]
