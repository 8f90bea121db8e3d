"""A mixture of Gaussians over local descriptors, and the Fisher vector by which it describes many of them at once."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_ROWS = 50_000  # descriptors from which the mixture is learned
_STEPS = 20  # of expectation and maximisation


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

    def project(self, descriptors: Tensor, order: Tensor | None = None) -> Tensor:
        """Descriptors (..., inputs) along the principal axes (..., dims).

        Args:
            descriptors: of any number.
            order: (inputs,) the order in which their numbers are to be taken. The axes are brought to the order of
                the descriptors, not the other way round: there are far fewer of them.
        """
        basis, shift = self.basis, self.mean @ self.basis
        if order is not None:
            basis = basis[order.argsort()]
        return descriptors @ basis - shift

    def assign(self, projected: Tensor) -> Tensor:
        """The share (m, components) of each Gaussian in projected descriptors (m, dims)."""
        inverse = 1.0 / self.variances
        constant = (self.means**2 * inverse + self.variances.log()).sum(dim=1)
        distance = (projected * projected) @ inverse.T - 2.0 * projected @ (self.means * inverse).T + constant
        return torch.softmax(self.weights.log() - 0.5 * distance, dim=1)

    def statistics(self, descriptors: Tensor, order: Tensor | None = None) -> Tensor:
        """Means over the descriptors (n, m, inputs) of each image: (n, `sums`); for `order` see `project`."""
        n, m = descriptors.shape[:2]
        x = self.project(descriptors, order)
        q = self.assign(x.reshape(n * m, -1)).view(n, m, -1).transpose(1, 2) / m
        return torch.cat([q.sum(dim=2), (q @ x).flatten(1), (q @ (x * x)).flatten(1)], dim=1)

    def fisher(self, statistics: Tensor) -> Tensor:
        """Fisher vectors (n, outputs) of `statistics`, each number rooted, and all of length 1."""
        k, d = self.components, self.dims
        s0, s1, s2 = statistics.split([k, k * d, k * d], dim=1)
        s0, s1, s2 = s0[:, :, None], s1.view(-1, k, d), s2.view(-1, k, d)
        root = self.weights.sqrt()[:, None]
        first = (s1 - s0 * self.means) / (self.variances.sqrt() * root)
        second = (s2 - 2.0 * s1 * self.means + s0 * (self.means**2 - self.variances)) / (
            self.variances * root * np.sqrt(2.0)
        )
        both = torch.cat([first.flatten(1), second.flatten(1)], dim=1)
        rooted = both.sign() * both.abs().sqrt()
        return rooted / rooted.norm(dim=1, keepdim=True).clamp_min(1e-6)
