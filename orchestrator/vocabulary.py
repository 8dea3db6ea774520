"""The closed vocabulary: names of splits, stages and of what a loss may ask for.

Holds constants only. One word per idea, used everywhere.
"""

from typing import Final

SPLIT_TRAIN: Final = "train"
SPLIT_SELECT: Final = "select"
SPLIT_REPORT: Final = "report"
SPLITS: Final = (SPLIT_TRAIN, SPLIT_SELECT, SPLIT_REPORT)

STUDENT_LOGITS: Final = "student_logits"  # [N, C]
STUDENT_FEATURE: Final = "student_feature"  # [N, d] pooled backbone feature, not normalised
TEXT_PREDICTION: Final = "text_prediction"  # [N, e] raw output of the text adaptor, not normalised
LABEL: Final = "label"  # [N] int64
TEXT: Final = "text"  # [N, Q, e] unit text embeddings of the image's Q texts; a missing text is a zero row
TEXT_ID: Final = "text_id"  # [N, Q] int64 row in the table of unique texts, -1 = missing
TEACHER_LOGITS: Final = "teacher_logits"  # [N, C]
TEACHER_IMAGE: Final = "teacher_image"  # [N, D] unit teacher image embedding

BATCH_INPUTS: Final = frozenset(
    {STUDENT_LOGITS, STUDENT_FEATURE, TEXT_PREDICTION, LABEL, TEXT, TEXT_ID, TEACHER_LOGITS, TEACHER_IMAGE}
)

MANY_ABOVE: Final = 100  # Many: more than 100 training images (methods, section 9)
FEW_BELOW: Final = 20  # Few: fewer than 20
