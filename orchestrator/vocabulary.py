"""The closed vocabulary: names of splits, stages and of what a loss may ask for.

Holds constants only. One word per idea, used everywhere.
"""

from typing import Final

SPLIT_TRAIN: Final = "train"
SPLIT_SELECT: Final = "select"
SPLIT_REPORT: Final = "report"
SPLITS: Final = (SPLIT_TRAIN, SPLIT_SELECT, SPLIT_REPORT)

# What a loss may ask for. N is the worker's rows, C the classes that are trained, V the views of an image.
# Made by the student, with gradient:
STUDENT_LOGITS: Final = "student_logits"  # [N, C] of view 1
STUDENT_FEATURE: Final = "student_feature"  # [N, d] pooled backbone feature of view 1, not normalised
STUDENT_MAP: Final = "student_map"  # [N, c, h, w] the backbone's last map of view 1
STUDENT_EMBEDDING: Final = "student_embedding"  # [N, D] in the image teacher's space, not normalised
STUDENT_TEXT: Final = "student_text"  # [N, D] of students with a text side, or [N, Q, D] of all texts; not normalised
TEXT_PREDICTION: Final = "text_prediction"  # [N, e], or [N, Q, e] with an adaptor per prompt; not normalised
VIEW_FEATURE: Final = "view_feature"  # [N, V, d] pooled features of all views, view 1 first
VIEW_LOGITS: Final = "view_logits"  # [N, V, C] logits of all views, view 1 first
# Constants of an image:
KEY_FEATURE: Final = "key_feature"  # [N, d] feature of view 2 by the student's momentum copy
LABEL: Final = "label"  # [N] int64
TARGET: Final = "target"  # [N, C] label distribution, where mixup or cutmix makes labels soft
MIX_ROW: Final = "mix_row"  # [N] int64 row of this very batch that view 1 is mixed with
MIX_WEIGHT: Final = "mix_weight"  # [N] share of the row's own image, 0..1
IMAGE_ROW: Final = "image_row"  # [N] int64 row of the image in the training list
TEXT: Final = "text"  # [N, Q, e] unit text embeddings of the image's Q texts; a missing text is a zero row
TEXT_ID: Final = "text_id"  # [N, Q] int64 row in the table of unique texts, -1 = missing
TEACHER_LOGITS: Final = "teacher_logits"  # [N, C]
TEACHER_IMAGE: Final = "teacher_image"  # [N, D] unit teacher image embedding
TEACHER_FEATURE: Final = "teacher_feature"  # [N, d_t] pooled, before projection, not normalised
TEACHER_MAP: Final = "teacher_map"  # [N, c_t, h, w] its tokens on their grid (without class and register tokens)
# Constants of the run, no row of which belongs to an image:
CLASS_TEXT: Final = "class_text"  # [C, D] unit text embedding of each trained class, in the image teacher's space
DOMAIN_TEXT: Final = "domain_text"  # [C, K, D] embeddings of each class in K domains ("a dark photo of a NAME.")

FROM_STUDENT: Final = frozenset(
    {STUDENT_LOGITS, STUDENT_FEATURE, STUDENT_MAP, STUDENT_EMBEDDING, STUDENT_TEXT, TEXT_PREDICTION, VIEW_FEATURE}
    | {VIEW_LOGITS}
)
OF_IMAGE: Final = frozenset(
    {KEY_FEATURE, LABEL, TARGET, MIX_ROW, MIX_WEIGHT, IMAGE_ROW, TEXT, TEXT_ID, TEACHER_LOGITS, TEACHER_IMAGE}
    | {TEACHER_FEATURE, TEACHER_MAP}
)
OF_RUN: Final = frozenset({CLASS_TEXT, DOMAIN_TEXT})
BATCH_INPUTS: Final = FROM_STUDENT | OF_IMAGE | OF_RUN

# What a student costs, as metrics of its training:
COST_SIZE: Final = "cost/model_size_mb"
COST_PARAMETERS: Final = "cost/num_parameters"
COST_LATENCY: Final = r"cost/latency_ms_b(?P<size>[1-9]\d*)_t(?P<threads>[1-9]\d*)"  # pattern: batch, threads

# Accuracies of a training on validation classes, which it has not seen, told apart among themselves:
UNSEEN_SELECTED_ALL: Final = "select/unseen_all"
UNSEEN_SELECTED_MEAN: Final = "select/unseen_mean_per_class"

MANY_ABOVE: Final = 100  # Many: more than 100 training images (methods, section 9)
FEW_BELOW: Final = 20  # Few: fewer than 20
