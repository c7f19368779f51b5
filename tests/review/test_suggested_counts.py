"""How many masks the grids of a task hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mseg_curate.errors import ReviewError
from mseg_curate.review import count_suggested
from tests.review.conftest import Desk

MakeDesk = Callable[..., Desk]


def test_masks_without_a_suggestion_count_as_the_default(make_desk: MakeDesk) -> None:
    """Each candidate has its number, 0 where nothing is suggested, and the sum is the task's masks."""
    desk = make_desk(masks=6)
    assert count_suggested(desk.store, "kinds") == {"cat": 6, "cow": 0, "dog": 0}
    with desk.store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO suggestion SELECT 1, id, CASE WHEN id < 3 THEN 2 ELSE 1 END, NULL, 'm' FROM mask "
            "WHERE id <= 4"
        )
    assert count_suggested(desk.store, "kinds") == {"cat": 4, "cow": 2, "dog": 0}


def test_an_unknown_task_has_no_counts(make_desk: MakeDesk) -> None:
    """The task must be there."""
    desk = make_desk()
    with pytest.raises(ReviewError, match="no task"):
        count_suggested(desk.store, "others")
