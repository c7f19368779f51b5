"""Adjudicate: contested masks, whose earlier votes are shown after one has chosen."""

from __future__ import annotations

from app.mount import mount_review

mount_review("adjudication")
