"""`ray job submit -- python -m jobs.quality EXPERIMENT.yaml [a.b=value ...]`: `orchestrator quality` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("quality")
