"""Unify semantic segmentation datasets whose classes disagree, and measure what it was worth."""

__version__ = "0.1.0"
