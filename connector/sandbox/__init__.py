"""Two imitated CRMs on loopback, with the vendors' answers, limits and faults, so that no account is needed."""
