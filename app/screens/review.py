"""Review: one mask after the other, one key each."""

from __future__ import annotations

from app.mount import mount_review

mount_review("single")
