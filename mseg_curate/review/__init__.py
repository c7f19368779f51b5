"""The review: annotators claim masks, decide them, and take decisions back.

Everything is asked for by an annotator's row id and answered by what the store says at that moment. Times are seconds
since 1970. Nothing here says what others decided, whether a mask is gold, or what a model takes it for; only an
adjudicator is shown the earlier votes, and only after choosing.
"""

from __future__ import annotations

from mseg_curate.review.answer import apply_operations
from mseg_curate.review.claim import claim_masks, release_leases, renew_leases
from mseg_curate.review.items import (
    Candidate,
    EarlierVote,
    Feedback,
    Item,
    LeasedMask,
    Operation,
    Person,
    Progress,
    Recent,
    Result,
    TaskCounts,
    TaskQuestion,
)
from mseg_curate.review.look import (
    count_suggested,
    count_task,
    example_mask,
    leased_mask,
    open_tasks,
    progress_of,
    recent_decisions,
    task_question,
)

__all__ = [
    "Candidate",
    "EarlierVote",
    "Feedback",
    "Item",
    "LeasedMask",
    "Operation",
    "Person",
    "Progress",
    "Recent",
    "Result",
    "TaskCounts",
    "TaskQuestion",
    "apply_operations",
    "claim_masks",
    "count_suggested",
    "count_task",
    "example_mask",
    "leased_mask",
    "open_tasks",
    "progress_of",
    "recent_decisions",
    "release_leases",
    "renew_leases",
    "task_question",
]
