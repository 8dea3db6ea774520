"""`python -m jobs.verify FOLDER`: `orchestrator verify` as a module."""

from orchestrator.cli import run_stage

if __name__ == "__main__":
    run_stage("verify")
