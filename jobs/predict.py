"""`ray job submit -- python -m jobs.predict ...`: `orchestrator predict` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("predict")
