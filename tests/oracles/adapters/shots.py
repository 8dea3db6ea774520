"""Many / Medium / Few."""

import numpy as np

from orchestrator.evaluation.shot_accuracy import shot_accuracy
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters


def shots(inputs: Inputs, parameters: Parameters) -> Outputs:
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    num_classes = int(max(labels.max() for labels in arrays.values())) + 1
    test, right = arrays["test_labels"], arrays["test_labels"] == arrays["predictions"]
    correct, total, trained = (
        np.bincount(labels, minlength=num_classes) for labels in (test[right], test, arrays["train_labels"])
    )
    got = shot_accuracy(correct, total, trained, empty_group=0.0)
    per_class = correct[total > 0] / total[total > 0]
    return {**{name: got[name] for name in ("many", "medium", "few")}, "per_class": per_class}


ADAPTERS: dict[str, Adapter] = {"shot_acc": shots}
