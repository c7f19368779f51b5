"""The only room that knows SQLAlchemy: schema, engine, migrations, queries, and the analysts' views."""

from __future__ import annotations

from sqlalchemy import Connection

from mseg_curate.store.engine import Store

__all__ = ["Connection", "Store"]
