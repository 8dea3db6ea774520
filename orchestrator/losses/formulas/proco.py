"""ProCo: each class as a von Mises-Fisher distribution of its features, and the contrast against all of them.

Holds the class statistics, the estimator that keeps two copies of them, the logits, and the module with its
representation head. Reads and writes nothing; the features of other workers come from distributed.all_gather. Knows
nothing of the classifier. Source: Du et al. 2024, with the order of events of the official code.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator import distributed
from orchestrator.losses.formulas.logit_adjusted_cross_entropy import logit_adjusted_cross_entropy
from orchestrator.losses.formulas.loss import Loss, unit, upcast, without_autocast
from orchestrator.losses.formulas.projection_head import OWN_STATISTICS, HeadShape, ProjectionHead
from orchestrator.losses.formulas.von_mises_fisher import log_vmf_normalizer

_START_LENGTH = 0.9  # of a mean before its class is seen, in a random direction
_LARGEST_CONCENTRATION = 1e5


def concentration(mean: Tensor) -> Tensor:
    """kappa [C] float64 of class means [C, D]: D R / (1 - R^2), R = |mean|; 1e5 where that is larger or negative."""
    length = torch.linalg.vector_norm(mean.double(), dim=1)
    kappa = mean.shape[1] * length / (1 - length.square())
    return torch.where(kappa < 0, _LARGEST_CONCENTRATION, kappa.clamp(max=_LARGEST_CONCENTRATION))


def proco_logits(features: Tensor, mean: Tensor, kappa: Tensor, *, temperature: float) -> Tensor:
    """log C(|kappa_c u(m_c) + z / T|) - log C(kappa_c), log C(k) = log I_{D/2-1}(k) - (D/2-1) log k.

    features z [N, D] (unit rows), mean m [C, D], kappa [C]. Returns [N, C] in the format of the features (float32 or
    better), from float64: both terms reach 1e5 and only their difference matters. Gradient through z alone.
    """
    features = upcast(features)
    with without_autocast(features):
        z, direction, kappa = features.double(), unit(mean.detach().double()), kappa.detach().double()
        cosine = z @ direction.T  # times |z|
        length = direction.square().sum(dim=1)  # 1, or 0 for a mean that has no direction
        square = kappa.square() * length + 2 * kappa / temperature * cosine
        square = square + z.square().sum(dim=1, keepdim=True) / temperature**2
        moved = square.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        dim = mean.shape[1]
        return (log_vmf_normalizer(moved, dim) - log_vmf_normalizer(kappa, dim)).to(features.dtype)


@torch.no_grad()
def class_means(features: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean [C, D] of the features [M, D] of each label [M] (0 where there is none) and their number [C], float64.

    By a matrix product, whose order of summation is fixed: added up by scattering, workers' copies would drift apart.
    """
    member = F.one_hot(label, num_classes).T.double()
    count = member.sum(dim=1)
    with without_autocast(features):
        return member @ features.double() / count.clamp_min(1)[:, None], count


class ClassStatistics(nn.Module):
    """The mean feature [C, D] of each class since the last reset, and how many features it is of [C]."""

    mean: Tensor
    count: Tensor

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        self.register_buffer("count", torch.zeros(num_classes))

    @torch.no_grad()
    def reset(self, random: torch.Generator | None = None) -> None:
        """Random directions of length 0.9, and no features. `random` lives on the CPU; None is torch's own."""
        start = torch.randn(self.mean.shape, generator=random)
        self.mean.copy_(_START_LENGTH * F.normalize(start, dim=1))
        self.count.zero_()

    @torch.no_grad()
    def update(self, mean: Tensor, count: Tensor) -> None:
        """Take in count [C] features with these means [C, D]; a class of count 0 stays as it is."""
        share = (count / (count + self.count).clamp_min(1))[:, None]
        self.mean.copy_((1 - share) * self.mean + share * mean)
        self.count.add_(count)


class ProCoEstimator(nn.Module):
    """Two copies of the class statistics: `old`, whose logits are used, and `current`, which is of this epoch alone.

    Both take in every feature. At the start of an epoch old <- current and current is reset, so that features of the
    encoder as it was an epoch ago are forgotten. All of it is buffers, equal on all workers: they gather the features,
    and a reset's random numbers are a function of a remembered seed and the epoch.
    """

    seed: Tensor

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.old = ClassStatistics(num_classes, dim)
        self.current = ClassStatistics(num_classes, dim)
        self.old.reset()
        self.current.reset()

    def start_epoch(self, epoch: int) -> None:
        """old <- current; current <- random means without features."""
        self.old.load_state_dict(self.current.state_dict())
        self.current.reset(torch.Generator().manual_seed(int(self.seed) + epoch))

    def forward(self, features: Tensor, label: Tensor, *, temperature: float) -> Tensor:
        """[N, C] logits of features [N, D] (unit), in training after both copies have taken in those of all workers."""
        if self.training:
            everybody, labels = distributed.all_gather(features.detach()), distributed.all_gather(label)
            mean, count = class_means(everybody, labels, len(self.old.count))
            self.old.update(mean, count)
            self.current.update(mean, count)
        return proco_logits(features, self.old.mean, concentration(self.old.mean), temperature=temperature)


def proco_loss(logits: Sequence[Tensor], label: Tensor, log_prior: Tensor, *, tau: float = 1.0) -> Tensor:
    """Mean over the views of CE(logits of the view + tau * log prior, y); each [N, C]."""
    return torch.stack([logit_adjusted_cross_entropy(one, label, log_prior, tau=tau) for one in logits]).mean()


class ProCo(Loss):
    """The loss of views 2 and on, through a representation head; each view's logits come after its own update.

    The head sees all views, as in the official code, where view 1 shares in its batch statistics.
    """

    log_prior: Tensor
    skips_first_view = True

    def __init__(
        self,
        *,
        class_count: tuple[int, ...],
        head: HeadShape,
        temperature: float,
        tau: float,
        prior_floor: float | None,
    ) -> None:
        super().__init__()
        self.head = ProjectionHead(head)
        self.estimator = ProCoEstimator(len(class_count), head.dim)
        prior = torch.tensor(class_count, dtype=torch.float64) / sum(class_count)
        self.register_buffer("log_prior", torch.log(prior if prior_floor is None else prior.clamp_min(prior_floor)))
        self.temperature, self.tau = temperature, tau
        self.exemptions = {  # type: ignore[misc]
            "gradient_check": "class statistics follow the features but are constants of the gradient, by the method",
            **({"two_workers": OWN_STATISTICS} if head.couples_rows else {}),
        }

    def forward(self, view_feature: Tensor, label: Tensor) -> Tensor:
        with without_autocast(view_feature):
            features = self.head(view_feature)
            views = features[:, 1:].unbind(dim=1)
            logits = [self.estimator(one, label, temperature=self.temperature) for one in views]
            return proco_loss(logits, label, self.log_prior, tau=self.tau)

    def start_epoch(self, epoch: int) -> None:
        self.estimator.start_epoch(epoch)

    def observed(self) -> dict[str, Tensor]:
        """Concentrations of the classes seen, and the share of classes seen, in the statistics that are used."""
        seen = self.estimator.old.count > 0
        kappa = concentration(self.estimator.old.mean)
        mean = (kappa * seen).sum() / seen.sum().clamp_min(1)
        return {"mean_concentration": mean, "seen_fraction": seen.float().mean()}
