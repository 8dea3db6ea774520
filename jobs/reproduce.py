"""`ray job submit -- python -m jobs.reproduce TARGET --scale full`: `orchestrator reproduce` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("reproduce")
