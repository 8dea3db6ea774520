"""Settings of augmented views: the plain ones (shift, flip, light) and the recipes of the papers.

Holds settings. Reads and writes nothing; views are drawn and rendered in views.py and augmentations.py.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from orchestrator.frozen import Frozen

Recipe = Literal[
    "randcls", "sim_aug", "sim", "randclsstack", "randclsstack_proco", "cifar", "ood_resnet", "ood_vit", "livt"
]


class ShiftViews(Frozen):
    """A shift by up to `pad` pixels (edges repeated), a horizontal flip, brightness and contrast.

    A view is a function of (data seed, image id, view id). The view id is the epoch, modulo the number of views for
    which an image teacher's outputs are kept where a loss reads them (methods 16.8).
    """

    kind: Literal["shift"] = "shift"
    pad: int = Field(default=6, ge=0, le=256)
    flip: bool = Field(default=True, description="mirror half of the views")
    brightness: float = Field(
        default=0.0, ge=0, le=1, description="largest amount added to, or taken from, pixels of 0 to 1; 0: none"
    )
    contrast: float = Field(
        default=0.0, ge=0, le=1, description="largest change of the factor of the distance to middle grey; 0: none"
    )


class AugmentedViews(Frozen):
    """A recipe of the papers (methods 16.1 and 1.11), scaled with the side of the image; also a function of the ids.

    All begin with a crop of 8 to 100 % of the area at an aspect of 3/4 to 4/3 and a flip, unless told otherwise:
    `randcls`: colour jitter, RandAugment (n 2, m 10, std 0.5). `sim_aug`: ProCo's, jitter with hue in 80 %, grey in
    20 %. `sim`: GPaCo's, jitter, grey in 20 %, blur in 50 %. `randclsstack`: `sim`, then RandAugment;
    `randclsstack_proco`: the same after `sim_aug`. `cifar`: shift by an eighth, AutoAugment, a hole of half the side.
    `ood_resnet`: crop and flip alone. `ood_vit`: RandAugment (2, 9), then the crop, no flip. `livt`: RandAugment
    (m 9, std 0.5, increasing) and erasing in 25 %. `shared_draw` draws once for a whole batch, as the OOD paper's code
    does unawares; no teacher's outputs can be kept of such views.
    """

    kind: Literal["augmented"] = "augmented"
    recipe: Recipe = Field(description="which of the papers' augmentations; see above for what each does")
    shared_draw: bool = False


def _kind_of(value: Any) -> Any:
    """The tag: `kind` where it is told, else what the other settings tell."""
    if isinstance(value, dict):
        return value.get("kind", "augmented" if "recipe" in value else "shift")
    return getattr(value, "kind", None)  # None: no settings of views, which pydantic then says


ViewSettings = Annotated[
    Annotated[ShiftViews, Tag("shift")] | Annotated[AugmentedViews, Tag("augmented")],
    Discriminator(
        _kind_of,
        custom_error_type="views",
        custom_error_message="expected a mapping, {pad: 6} or {recipe: randcls}; kinds: shift, augmented",
    ),
]


class TeacherViews(Frozen):
    """The views for which an image teacher's outputs are kept: `num_views` of each training image (methods 16.8).

    `image_size` is the side of the student's images: `views.pad` is told in its pixels. `framing` is how an image
    becomes the square that views are cut of (see datasets/framing.py).
    """

    num_views: int = Field(ge=1)
    views: ViewSettings
    image_size: int = Field(ge=1)
    data_seed: int = Field(ge=0)
    framing: Literal["crop", "stretch"] = "crop"


class MixingSettings(Frozen):
    """Mixup and cutmix of view 1: neighbours in the batch are mixed with each other (methods 16.4).

    Each pair is mixed in `fraction` of the cases, by cutmix in `cutmix_share` of them where both are on; an image's own
    share is drawn from Beta(alpha, alpha), a function of data seed, epoch and place in the batch. Label targets
    are mixed likewise and smoothed by `label_smoothing`; L_text's targets are the captions of both; class distributions
    of a teacher whose outputs are kept are mixed, other outputs of it cannot be.
    """

    mixup_alpha: float = Field(
        default=0.8, ge=0, description="of the Beta distribution of the share in mixup; 0: no mixup"
    )
    cutmix_alpha: float = Field(
        default=1.0, ge=0, description="of the Beta distribution of the share in cutmix; 0: no cutmix"
    )
    cutmix_share: float = Field(default=0.5, ge=0, le=1)
    fraction: float = Field(default=1.0, ge=0, le=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
