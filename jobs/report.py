"""`ray job submit -- python -m jobs.report EXPERIMENT.yaml [a.b=value ...]`: `orchestrator report` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("report")
