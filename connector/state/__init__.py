"""What the service is doing: runs, outbox, outcomes, tasks made, quarantine, judgements, lease. Never customer data."""

from connector.state.store import State, StateSection, open_state

__all__ = ["State", "StateSection", "open_state"]
