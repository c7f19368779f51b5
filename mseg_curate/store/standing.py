"""Which decisions stand, as every query of them has to ask."""

from __future__ import annotations

__all__ = ["stands"]


def stands(decision: str) -> str:
    """Return the SQL condition that no later decision supersedes this one; `decision` is its name in the query."""
    return f"NOT EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = {decision}.id)"
