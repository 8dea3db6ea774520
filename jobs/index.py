"""`ray job submit -- python -m jobs.index EXPERIMENT.yaml [a.b=value ...]`: `orchestrator index` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("index")
