"""`python -m mseg_curate.cli` is `mseg-curate`."""

from __future__ import annotations

from mseg_curate.cli import main

main()
