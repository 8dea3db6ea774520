"""The OOD paper's metrics and protocols: coherence, text spectrum, zero-shot and few-shot evaluation, its batches."""

import torch

from orchestrator.evaluation.coherence import coherence
from orchestrator.evaluation.few_shot import retrieval_accuracy
from orchestrator.evaluation.text_spectrum import text_spectrum
from orchestrator.evaluation.zero_shot import zero_shot_accuracy
from orchestrator.training.few_shot_batches import few_shot_batches
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters

COHERENCE = (
    "m_rel", "m_rel_pairwise", "m_rel_correlation", "m_neigh", "m_vlalign_inversions", "m_vlalign_normalised",
    "m_vlalign_per_text_inversions", "m_vlalign_per_text_normalised", "vl_kl", "agreement", "teacher_correct",
)  # fmt: skip


def metrics(inputs: Inputs, parameters: Parameters) -> Outputs:
    found = coherence(
        inputs["student"],
        inputs["teacher"],
        inputs["text"],
        inputs["target"],
        num_neighbours=parameters["k_neigh"],
        num_texts=parameters["k_text"],
        temperature=parameters["temperature"],
    )
    return {name: found[name] for name in COHERENCE}


def eigenspectrum(inputs: Inputs, parameters: Parameters) -> Outputs:
    parameters.sizes(C=inputs["text"].shape[0], D=inputs["text"].shape[1])
    found = text_spectrum(inputs["text"])
    return {
        "eigenvalues": found.eigenvalues,
        "singular_values_uncentred": found.singular_values,
        "effective_rank": found.effective_rank,
        "participation_ratio": found.participation_ratio,
        "mean_nearest_cosine": found.mean_nearest_cosine,
    }


def zero_shot(inputs: Inputs, parameters: Parameters) -> Outputs:
    _check_sizes(inputs, parameters)
    found = zero_shot_accuracy(
        inputs["student"], inputs["text"], inputs["target"], temperature=parameters["temperature"]
    )
    return {"mean_per_class_accuracy_percent": 100 * found["mean_per_class"], "test_loss": found["test_loss"]}


def retrieval(inputs: Inputs, parameters: Parameters) -> Outputs:
    _check_sizes(inputs, parameters)
    num_classes, num_copies = inputs["support"].shape[:2]
    parameters.sizes(S=num_copies)
    found = retrieval_accuracy(
        inputs["student"],
        inputs["text"],
        inputs["target"],
        inputs["support"],
        torch.arange(num_classes),
        alpha=parameters["alpha"],
        beta=parameters["beta"],
    )
    return {"mean_per_class_accuracy_percent": 100 * found["mean_per_class"], "test_loss": found["test_loss"]}


def _check_sizes(inputs: Inputs, parameters: Parameters) -> None:
    parameters.sizes(N=len(inputs["student"]), C=len(inputs["text"]), D=inputs["text"].shape[1])


def sampler(inputs: Inputs, parameters: Parameters) -> Outputs:
    rows = []
    for num_images, num_support, batch_size in inputs["cases"].tolist():
        num_base = num_images - num_support
        epoch = torch.cat(
            [
                torch.from_numpy(batch)
                for batch in few_shot_batches(num_base, num_support, batch_size, data_seed=0, epoch=0, as_code=True)
            ]
        )
        base = epoch[epoch < num_base]
        rows.append([len(epoch), len(epoch) - len(base), len(base.unique())])
    return {"counts": torch.tensor(rows)}


ADAPTERS: dict[str, Adapter] = {
    "reading_metrics": metrics,
    "reading_eigenspectrum": eigenspectrum,
    "ood_eval": zero_shot,
    "ood_tip": retrieval,
    "ood_fewshot_sampler": sampler,
}
