"""How arms are written, what they are called, and what cannot be combined."""

from __future__ import annotations

import pytest

from mseg_curate.core.arms import Arm, ArmChoice
from mseg_curate.errors import InputError


@pytest.mark.parametrize(
    ("text", "choice", "name"),
    [
        ("relabeled", ArmChoice(), "relabeled"),
        (" partial ", ArmChoice(Arm.PARTIAL), "partial"),
        ("without:animals", ArmChoice(without="animals"), "without-animals"),
        ("without:a b/c", ArmChoice(without="a b/c"), "without-a_b_c"),
        ("without:a:b", ArmChoice(without="a:b"), "without-a_b"),
        ("oracle:voc-2012", ArmChoice(oracle="voc-2012"), "oracle-voc-2012"),
    ],
)
def test_an_arm_is_read_and_named(text: str, choice: ArmChoice, name: str) -> None:
    """The words of the command line become a choice, whose name is fit for a folder."""
    found = ArmChoice.parse(text)
    assert found == choice
    assert found.name == name


@pytest.mark.parametrize("text", ["", "best", "without", "without:", "oracle:", "relabeled:x"])
def test_other_words_are_refused(text: str) -> None:
    """What is no arm is refused with all that can be said instead."""
    with pytest.raises(InputError, match=r"unknown arm: expected relabeled, .*or oracle:DATASET"):
        ArmChoice.parse(text)


@pytest.mark.parametrize(
    ("arm", "without", "oracle"),
    [(Arm.IGNORED, "animals", ""), (Arm.PARTIAL, "", "voc"), (Arm.RELABELED, "animals", "voc")],
)
def test_what_excludes_each_other_is_refused(arm: Arm, without: str, oracle: str) -> None:
    """Only `relabeled` can go without a task, and an oracle is nothing else."""
    with pytest.raises(InputError):
        ArmChoice(arm, without=without, oracle=oracle)


@pytest.mark.parametrize("arm", list(Arm))
def test_the_four_arms_are_choices(arm: Arm) -> None:
    """Each of the four arms is a choice of its own name; a choice stays what it is."""
    choice = ArmChoice.of(arm)
    assert (choice.arm, choice.name) == (arm, arm.value)
    assert ArmChoice.of(choice) is choice
    assert choice.uses_decisions == (arm is Arm.RELABELED)


def test_who_uses_decisions() -> None:
    """The arm without a task uses the decisions of all others; an oracle uses none."""
    assert ArmChoice(without="animals").uses_decisions
    assert not ArmChoice(oracle="voc").uses_decisions
