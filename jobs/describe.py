"""`ray job submit -- python -m jobs.describe EXPERIMENT.yaml [a.b=value ...]`: `orchestrator describe` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("describe")
