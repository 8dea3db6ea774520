"""`ray job submit -- python -m jobs.evaluate EXPERIMENT.yaml [a.b=value ...]`: `orchestrator evaluate` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("evaluate")
