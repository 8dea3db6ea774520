"""`ray job submit -- python -m jobs.evidence EXPERIMENT.yaml --seeds 0,1,2,3`: `orchestrator evidence` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("evidence")
