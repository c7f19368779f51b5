"""Times as the store keeps them, ISO 8601 in UTC, and as leases count them, seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["epoch_of", "iso_of"]


def iso_of(epoch_s: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC, to the second: 2026-01-31T09:30:00+00:00."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")


def epoch_of(iso: str) -> float:
    """Return an ISO 8601 time as seconds since 1970; one without an offset is UTC."""
    time = datetime.fromisoformat(iso)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
