"""The result of an experiment as tables and sentences. The only room that knows pandas."""

from __future__ import annotations

from mseg_curate.report.arms import ArmsReport, render_markdown, render_text
from mseg_curate.report.frames import (
    differences_frame,
    format_difference,
    markdown_table,
    scores_frame,
)
from mseg_curate.report.provenance import Provenance
from mseg_curate.report.sentences import (
    FREE_ARMS,
    conclude,
    describe_differences,
    warn_of_many,
)
from mseg_curate.report.zero_shot import render_ladder, render_zero_shot_table

__all__ = [
    "FREE_ARMS",
    "ArmsReport",
    "Provenance",
    "conclude",
    "describe_differences",
    "differences_frame",
    "format_difference",
    "markdown_table",
    "render_ladder",
    "render_markdown",
    "render_text",
    "render_zero_shot_table",
    "scores_frame",
    "warn_of_many",
]
