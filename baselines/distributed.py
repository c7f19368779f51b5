"""Several processes that train one network together, as `torchrun` starts them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["World"]


@dataclass(frozen=True)
class World:
    """This process's number among all that train together; alone it is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files and talks."""
        return self.rank == 0
