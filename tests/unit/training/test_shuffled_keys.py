"""PaCo's keys with several workers: made of shuffled shares of the joint batch, and brought back to their images."""

import socket
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from orchestrator import vocabulary as v
from orchestrator.losses.formulas.loss import Loss
from orchestrator.losses.objective import Objective
from orchestrator.students import TinyStudentSettings
from orchestrator.students.context import StudentContext
from orchestrator.training.draws import permutation
from orchestrator.training.model import MORE_VIEWS, DistillationModel

N, SIDE = 6, 16
SHUFFLED_BY = (5, 7)  # data seed, micro-batch


class OfKeys(Loss):
    key_momentum = 0.9

    def forward(self, student_feature: Tensor, key_feature: Tensor) -> Tensor:
        return (student_feature - key_feature).square().mean()


def batch(seed: int) -> dict[str, Tensor]:
    images = torch.randn(N, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return {"image": images[:, 0], MORE_VIEWS: images[:, 1:]}


def key_maker(*, with_norm: bool) -> DistillationModel:
    """A model whose BatchNorms take their statistics from the batch, or are left as they are in evaluation."""
    torch.manual_seed(0)
    student = TinyStudentSettings(width=4).build(
        StudentContext(4, image_size=SIDE, teacher_dim=5, text_dim=7, num_texts=1)
    )
    model = DistillationModel(student, None, Objective({"of_keys": (1.0, OfKeys())})).train()
    model.shuffled_by = SHUFFLED_BY
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d) and not with_norm:
            one.eval()
    return model


def one_key_maker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    made: dict[str, Tensor] = {}
    for with_norm in (False, True):
        model = key_maker(with_norm=with_norm)
        torch.manual_seed(rank)  # the order comes from nobody's random state
        made[f"keys_{with_norm}"] = model.inputs(batch(seed=rank))[v.KEY_FEATURE]
    assert model.momentum_student is not None
    made |= {name: value for name, value in model.momentum_student.state_dict().items() if "running" in name}
    torch.save(made, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_keys_of_two_workers_come_from_shuffled_shares_and_return_to_their_images(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_key_maker, args=(port, str(tmp_path)), nprocs=2)
    told = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    given = [batch(seed=rank) for rank in (0, 1)]
    joint = torch.cat([one[MORE_VIEWS][:, 0] for one in given])
    order = torch.from_numpy(permutation(2 * N, *SHUFFLED_BY))
    assert all(0 < int((order[own] < N).sum()) < N for own in (slice(N), slice(N, 2 * N)))  # each has some of both's
    alone = key_maker(with_norm=False)
    expected, with_norm = torch.empty(2 * N, 16), torch.empty(2 * N, 16)
    for rank, own in enumerate((slice(N), slice(N, 2 * N))):
        expected[own] = alone.inputs(given[rank])[v.KEY_FEATURE]
        fresh = key_maker(with_norm=True).momentum_student
        assert fresh is not None
        with torch.no_grad():
            with_norm[order[own]] = fresh(joint[order[own]])[v.STUDENT_FEATURE]
        for name, value in fresh.state_dict().items():
            if "running" in name:
                torch.testing.assert_close(told[rank][name], value)
    torch.testing.assert_close(torch.cat([one["keys_False"] for one in told]), expected)
    torch.testing.assert_close(torch.cat([one["keys_True"] for one in told]), with_norm)
    unshuffled = key_maker(with_norm=True).inputs(given[0])[v.KEY_FEATURE]
    assert not torch.allclose(told[0]["keys_True"], unshuffled)
