"""Settings of the text adaptor: from the student's feature to a prediction of the image's text embedding.

Holds one settings class. Reads and writes nothing; the network is in networks/adaptor.py.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from orchestrator.frozen import Frozen

if TYPE_CHECKING:
    from orchestrator.students.networks.adaptor import Adaptor, AdaptorPerPrompt


class AdaptorSettings(Frozen):
    """`depth` blocks Linear - BatchNorm - ReLU of `hidden_dim` (null: the feature's width), then Linear (VLM-KD, 2.3).

    depth 0 is the paper's "linear", 1 its default "1xMLP + linear", 2 "2xMLP + linear". `per_prompt` gives each of an
    image's texts an adaptor of its own ("Separate", methods 2.4) instead of one for all ("Shared").
    """

    depth: int = Field(default=1, ge=0, le=8)
    hidden_dim: int | None = Field(default=None, ge=1)
    per_prompt: bool = False

    def build(self, feature_dim: int, text_dim: int, num_texts: int = 1) -> "Adaptor | AdaptorPerPrompt":
        from orchestrator.students.networks.adaptor import Adaptor, AdaptorPerPrompt

        def one() -> Adaptor:
            return Adaptor(feature_dim, text_dim, depth=self.depth, hidden_dim=self.hidden_dim or feature_dim)

        return AdaptorPerPrompt([one() for _ in range(num_texts)]) if self.per_prompt else one()
