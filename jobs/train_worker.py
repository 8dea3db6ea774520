"""`torchrun --nproc-per-node N -m jobs.train_worker JOB.json`: train a job that `orchestrator write-jobs` wrote."""

import sys

from orchestrator.executors.torchrun import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
