"""`ray job submit -- python -m jobs.tune EXPERIMENT.yaml [a.b=value ...]`: `orchestrator tune` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("tune")
