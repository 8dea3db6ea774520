"""`ray job submit -- python -m jobs.export ...`: `orchestrator export` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("export")
