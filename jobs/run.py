"""`ray job submit -- python -m jobs.run EXPERIMENT.yaml [a.b=value ...]`: `orchestrator run` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("run")
