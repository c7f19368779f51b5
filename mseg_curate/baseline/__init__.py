"""Train the baseline on every arm, evaluate it zero-shot, and store and report what relabeling was worth."""

from __future__ import annotations

from mseg_curate.baseline.arms import ALL_ARMS, choose_arms, export_arms
from mseg_curate.baseline.measure import Experiment, run_baseline

__all__ = ["ALL_ARMS", "Experiment", "choose_arms", "export_arms", "run_baseline"]
