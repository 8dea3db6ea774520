"""`ray job submit -- python -m jobs.sweep EXPERIMENT.yaml [a.b=value ...]`: `orchestrator sweep` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("sweep")
