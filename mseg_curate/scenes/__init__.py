"""Drawn street scenes: three small datasets whose classes disagree, made for the demo.

`townscape` (day) calls every vehicle `vehicle`; `outskirts` (dusk) names the few cars and bicycles
that it has; `cityview` (rain) tells car, bus, truck and bicycle apart and is for testing.
"""

from __future__ import annotations

from mseg_curate.scenes.datasets import DrawnDataset, DrawnDatasets, draw_datasets

__all__ = ["DrawnDataset", "DrawnDatasets", "draw_datasets"]
