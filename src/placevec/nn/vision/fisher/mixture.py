"""A mixture of Gaussians over local descriptors, and the Fisher vector by which it describes many of them at once."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_ROWS = 50_000  # descriptors from which the mixture is learned
_STEPS = 20  # of expectation and maximisation
_PART = 4096  # descriptors that are assigned at a time: an image may have a million of them


class Mixture(nn.Module):
    """Descriptors of `inputs` numbers, projected to `dims` and described by `components` Gaussians.

    With soft assignments q_k(x) the sums over descriptors x of q_k, q_k · x and q_k · x² are all that a Fisher vector
    needs (Perronnin et al. 2010; Sánchez et al. 2013, equations 16 to 18): they add up over parts of an image, and a
    mean of them over windows is the mean over the windows' descriptors.
    """

    mean: Tensor
    basis: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, inputs: int, dims: int, components: int) -> None:
        super().__init__()
        self.dims, self.components = dims, components
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("basis", torch.eye(inputs)[:, :dims].contiguous())
        self.register_buffer("weights", torch.full((components,), 1.0 / components))
        self.register_buffer("means", torch.zeros(components, dims))
        self.register_buffer("variances", torch.ones(components, dims))

    @property
    def outputs(self) -> int:
        """Numbers of a Fisher vector: two for each component and dimension."""
        return 2 * self.components * self.dims

    @property
    def sums(self) -> int:
        """Numbers that `statistics` gives."""
        return self.components * (1 + 2 * self.dims)

    def learn(self, descriptors: NDArray[np.float32], seed: int) -> None:
        """Take the principal axes and the mixture from descriptors (m, inputs)."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        rng = np.random.default_rng(seed)
        rows = descriptors[rng.permutation(len(descriptors))[:_ROWS]].astype(np.float64)
        mean = rows.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((rows - mean).T))
        basis = vectors[:, np.argsort(-values)[: self.dims]]
        projected = ((rows - mean) @ basis).astype(np.float32)
        found = GaussianMixture(
            self.components,
            covariance_type="diag",
            max_iter=_STEPS,
            init_params="k-means++",
            reg_covar=1e-5,
            random_state=int(rng.integers(2**31)),
        )
        with warnings.catch_warnings():
            # A mixture is good enough long before it has converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found.fit(projected)
        for name, value in (
            ("mean", mean),
            ("basis", basis),
            ("weights", found.weights_),
            ("means", found.means_),
            ("variances", found.covariances_),
        ):
            getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)))

    def statistics(self, descriptors: Tensor, order: Tensor | None = None) -> Tensor:
        """Means over the descriptors of each image of their shares, and of those times themselves and their squares.

        Args:
            descriptors: (n, m, inputs).
            order: see `Assignment`.

        Returns:
            (n, `sums`): for each component the mean of q, and of q · x and q · x² by dimension.
        """
        assign = Assignment(self, order)
        out = descriptors.new_empty(len(descriptors), self.sums)
        # One image at a time: its descriptors stay in the processor's cache, and no other image changes the answer.
        for row, own in enumerate(descriptors):
            parts = [added(*assign(part)) for part in torch.split(own, _PART)]
            out[row] = torch.stack(parts).sum(dim=0) / float(len(own))
        return out

    def fisher(self, statistics: Tensor) -> Tensor:
        """Fisher vectors (n, outputs) of `statistics`, each number rooted, and all of length 1."""
        d = self.dims
        parts = statistics.view(len(statistics), self.components, 1 + 2 * d)
        s0, s1, s2 = parts[:, :, :1], parts[:, :, 1 : 1 + d], parts[:, :, 1 + d :]
        root = self.weights.sqrt()[:, None]
        first = (s1 - s0 * self.means) / (self.variances.sqrt() * root)
        second = (s2 - 2.0 * s1 * self.means + s0 * (self.means**2 - self.variances)) / (
            self.variances * root * math.sqrt(2.0)
        )
        both = torch.cat([first.flatten(1), second.flatten(1)], dim=1)
        rooted = both.sign() * both.abs().sqrt()
        return nn.functional.normalize(rooted, dim=1, eps=1e-6)


class Assignment:
    """A mixture made ready to take descriptors whose numbers stand in some order.

    Args:
        mixture: the mixture.
        order: (inputs,) the order in which the numbers of a descriptor are to be taken. The axes are brought to the
            order of the descriptors, not the other way round: there are far fewer of them.
    """

    def __init__(self, mixture: Mixture, order: Tensor | None = None) -> None:
        self.dims = mixture.dims
        self.shift = -(mixture.mean @ mixture.basis)
        self.basis = mixture.basis if order is None else mixture.basis[order.argsort()]
        # log of weight times density, but for what all components share: one product with x and x² side by side.
        inverse = 1.0 / mixture.variances
        self.factors = torch.cat([mixture.means * inverse, -0.5 * inverse], dim=1).T.contiguous()
        constant = (mixture.means**2 * inverse + mixture.variances.log()).sum(dim=1)
        self.offset = mixture.weights.log() - 0.5 * constant

    def __call__(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Of descriptors (m, inputs) the shares q of the components (m, components), and x and x² (m, 2 · dims)."""
        moments = descriptors.new_empty(len(descriptors), 2 * self.dims)
        x = moments[:, : self.dims]
        torch.addmm(self.shift, descriptors, self.basis, out=x)
        torch.mul(x, x, out=moments[:, self.dims :])
        return torch.softmax(torch.addmm(self.offset, moments, self.factors), dim=1), moments


def added(shares: Tensor, moments: Tensor) -> Tensor:
    """Sums over descriptors (..., m, k) of what an `Assignment` says of each of them: (..., `Mixture.sums`)."""
    return torch.cat([shares.sum(dim=-2)[..., None], shares.mT @ moments], dim=-1).flatten(-2)
