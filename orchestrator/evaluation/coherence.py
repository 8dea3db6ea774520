"""All measures of how coherent a student's space is with its teacher's, by name, on one fixed set of images.

Joins `image_coherence` and `text_coherence`. Reads and writes nothing.
"""

from orchestrator.evaluation import image_coherence, text_coherence
from orchestrator.evaluation.unit_vectors import Labels, Vectors


def coherence(
    student: Vectors,
    teacher: Vectors,
    text: Vectors,
    label: Labels,
    *,
    num_neighbours: int = 10,
    num_texts: int = 256,
    temperature: float = 0.07,
) -> dict[str, float]:
    """Every measure of methods 1.10 on one image set (training, validation or unseen classes).

    Args:
        student, teacher: [N, D] image embeddings in the teacher's space, in one order of images.
        text: [C, D] embeddings of the label set in question.
        label: [N] rows of `text`.
        num_neighbours: k of M_neigh, at most N - 1.
        num_texts: texts of the KL companion, at most C.
        temperature: of the KL companion.
    """
    return {
        **image_coherence.own_teacher_nearest(student, teacher),
        "m_rel_correlation": image_coherence.similarity_correlation(student, teacher),
        "m_neigh": image_coherence.neighbour_overlap(student, teacher, num_neighbours),
        "mean_squared_distance": image_coherence.mean_squared_distance(student, teacher),
        **text_coherence.ranking_inversions(student, teacher, text),
        "vl_kl": text_coherence.text_distribution_kl(student, teacher, text, k=num_texts, temperature=temperature),
        **text_coherence.top_text_agreement(student, teacher, text, label),
    }
