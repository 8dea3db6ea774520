"""`ray job submit -- python -m jobs.train EXPERIMENT.yaml [a.b=value ...]`: `orchestrator train` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("train")
