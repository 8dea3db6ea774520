"""Entry points for `python -m jobs.NAME` and `ray job submit -- python -m jobs.NAME ...`: one thin file per job.

Holds argument reading only; the work is in `orchestrator`. Run from the project's root, where
this package is importable.
"""
