"""Settings of the CBAM student: channel and spatial gates before the linear map of the images.

Holds the settings of one kind. Reads and writes nothing; the network is in networks/two_tower/.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from orchestrator.students.adaptor import AdaptorSettings
from orchestrator.students.context import StudentContext
from orchestrator.students.two_tower import TwoTowerSettings

if TYPE_CHECKING:
    from orchestrator.students.networks.two_tower.student import TwoTowerStudent


class CbamStudentSettings(TwoTowerSettings):
    """`num_blocks` CBAM blocks on the image side, mean over positions, Linear; the text side is a Linear.

    `reduction` divides the channels inside a block's channel gate. `image_input: teacher_map` reads the teacher's
    tokens on their grid, and its output is `student_map`, for attention transfer; a pooled row is a map of one
    position. The report's 1.25 MB fits 2 blocks of reduction 16 (the default), 1 of 8 and 4 of 32 alike. As in timm
    there is a BatchNorm after the spatial convolution, which the CBAM paper does not have.
    """

    kind: Literal["cbam"] = "cbam"
    num_blocks: int = Field(default=2, ge=1)
    reduction: int = Field(default=16, ge=1)
    kernel_size: Literal[3, 5, 7] = Field(default=7, description="of the spatial attention's convolution")

    def build(self, context: StudentContext, adaptor: AdaptorSettings | None = None) -> "TwoTowerStudent":
        from orchestrator.students.networks.two_tower.towers import CbamBlocks

        width = self.image_width(self.kind, self.image_input, context)
        tower = CbamBlocks(width, num_blocks=self.num_blocks, ratio=1 / self.reduction, kernel_size=self.kernel_size)
        return self.two_towers(context, image_input=self.image_input, width=width, tower=tower)
