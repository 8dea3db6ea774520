"""`ray job submit -- python -m jobs.embed EXPERIMENT.yaml [a.b=value ...]`: `orchestrator embed` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("embed")
