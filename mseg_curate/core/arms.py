"""Arms: what an export does with the classes that must be split, and how each is named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from mseg_curate.errors import InputError

__all__ = ["ORACLE", "WITHOUT", "Arm", "ArmChoice", "Unresolved", "folder_name"]

# How the names of these arms begin in folders, manifests and results.
WITHOUT = "without-"
ORACLE = "oracle-"


class Arm(StrEnum):
    """What an export does with the classes that must be split."""

    RELABELED = "relabeled"
    UNRELABELED = "unrelabeled"
    IGNORED = "ignored"
    PARTIAL = "partial"


class Unresolved(StrEnum):
    """What the arm `relabeled` makes of masks without a resolution to a class or to ignore."""

    IGNORE = "ignore"
    DEFAULT = "default"
    SET = "set"


@dataclass(frozen=True)
class ArmChoice:
    """What one export holds: an arm, `relabeled` without one task, or the oracle of a test dataset.

    The masks of the task `without` are labelled as in `unrelabeled`. The oracle trains on the split `train` of the
    test dataset `oracle`, in that dataset's own classes, and is tested on its other splits. At most one of the two.
    """

    arm: Arm = Arm.RELABELED
    without: str = ""
    oracle: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be combined."""
        if self.arm is not Arm.RELABELED and (self.without or self.oracle):
            raise InputError(
                "an arm without a task, or an oracle, is no other arm", found=self.arm.value
            )
        if self.without and self.oracle:
            raise InputError("an oracle knows no tasks", found=self.without)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `relabeled`, `without:TASK`, `oracle:DATASET` and so on; raises InputError for anything else."""
        kind, colon, what = text.strip().partition(":")
        if not colon and kind in tuple(Arm):
            return cls(Arm(kind))
        if kind == "without" and what:
            return cls(without=what)
        if kind == "oracle" and what:
            return cls(oracle=what)
        raise InputError(
            "unknown arm",
            expected=", ".join(Arm) + ", without:TASK or oracle:DATASET",
            found=text.strip() or "nothing",
        )

    @classmethod
    def of(cls, arm: Arm | ArmChoice) -> ArmChoice:
        """Take one of the four arms as it is, or a choice."""
        return arm if isinstance(arm, ArmChoice) else cls(arm)

    @property
    def name(self) -> str:
        """The name of the arm in folders, manifests and results, such as `without-TASK`."""
        named = self.without or self.oracle
        if not named:
            return self.arm.value
        return (WITHOUT if self.without else ORACLE) + folder_name(named)

    @property
    def uses_decisions(self) -> bool:
        """True where annotators' decisions are painted."""
        return self.arm is Arm.RELABELED and not self.oracle


def folder_name(name: str) -> str:
    """Return a name with everything that is no letter, digit, dot, underscore or hyphen as an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)
