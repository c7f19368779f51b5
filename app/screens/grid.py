"""Grid: many crops that are taken for one class; the exceptions are clicked, one key confirms the rest."""

from __future__ import annotations

from app.mount import mount_grid

mount_grid()
