"""`ray job submit -- python -m jobs.caption EXPERIMENT.yaml [a.b=value ...]`: `orchestrator caption` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("caption")
