"""Decide everything about an export before the first file is written."""

from __future__ import annotations

from mseg_curate.export_plan.arms import check_choices, plan_export
from mseg_curate.export_plan.oracle import can_have_oracle
from mseg_curate.export_plan.plan import (
    FORMAT_VERSION,
    ExportPlan,
    PlannedDataset,
    PlannedPaint,
    PlannedSplitClass,
    sources_of_test_classes,
)

__all__ = [
    "FORMAT_VERSION",
    "ExportPlan",
    "PlannedDataset",
    "PlannedPaint",
    "PlannedSplitClass",
    "can_have_oracle",
    "check_choices",
    "plan_export",
    "sources_of_test_classes",
]
