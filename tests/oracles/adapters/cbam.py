"""The CBAM block of the students."""

import torch

from orchestrator.students.networks.two_tower.towers import CbamBlocks
from tests.oracles.manifest import Adapter, Inputs, Outputs, Parameters


def cbam(inputs: Inputs, parameters: Parameters) -> Outputs:
    x = inputs["x"].requires_grad_()
    parameters.sizes(C=x.shape[1])
    blocks = CbamBlocks(x.shape[1], num_blocks=1, ratio=parameters["reduction"], kernel_size=parameters["kernel"])
    blocks = blocks.to(x.dtype).train(parameters["mode"] == "train")
    own = {name.removeprefix("blocks.0.").replace(".", "_"): name for name in blocks.state_dict()}
    stored = {own[name.removeprefix("w_")]: value for name, value in inputs.items() if name.startswith("w_")}
    blocks.load_state_dict(stored)
    assert [one.eps for one in blocks.modules() if isinstance(one, torch.nn.BatchNorm2d)] == [parameters["bn_eps"]]
    _, y = blocks(x)
    return {"y": y, "grad_x": torch.autograd.grad((y * inputs["upstream"]).sum(), x)[0]}


ADAPTERS: dict[str, Adapter] = {"cbam": cbam}
