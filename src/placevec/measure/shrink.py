"""(A + αI)⁻¹b for many α from one factorisation of A that needs no eigenvectors."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh_tridiagonal, lapack

from placevec.measure.nested import Floats


class Shrunk:
    """A symmetric positive semi-definite matrix as Q T Q', T tridiagonal (Golub and Van Loan, 2013, section 8.3.1).

    Q stays in the reflectors it is made of. Each α then costs one tridiagonal solution, so that all of them
    together take a third of the time of the eigendecomposition, which they would all share as well.

    Args:
        matrix: (p, p); overwritten.
    """

    def __init__(self, matrix: Floats) -> None:
        self.p = len(matrix)
        work, _ = lapack.dsytrd_lwork(self.p, lower=1)
        self._reflectors, self._diagonal, self._beside, self._tau, _ = lapack.dsytrd(
            matrix, lower=1, lwork=int(work), overwrite_a=1
        )

    def solve(self, b: Floats, alphas: Floats) -> Floats:
        """The solutions (p, a, t) for b (p, t) and all alphas (a,) > 0; negative eigenvalues, of rounding, count as 0.

        Args:
            b: (p, t).
            alphas: (a,) what is added to the diagonal.
        """
        if self.p == 1:
            return np.asarray(b[:, None] / (np.maximum(self._diagonal, 0.0) + alphas[:, None])[None])
        turned = self._turn(b, "T")
        out = np.empty((self.p, len(alphas), b.shape[1]))
        for i, alpha in enumerate(alphas.tolist()):
            d, e, info = lapack.dpttrf(self._diagonal + alpha, self._beside)
            out[:, i] = lapack.dpttrs(d, e, turned)[0] if info == 0 else self._clamped(turned, alpha)
        return self._turn(out.reshape(self.p, -1), "N").reshape(out.shape)

    def _turn(self, columns: Floats, trans: str) -> Floats:
        """Q'b or Qb: the first row stays, the others go through the reflectors."""
        out = np.array(columns, dtype=np.float64, order="F")
        v = np.asfortranarray(self._reflectors[1:, :-1])
        work = int(lapack.dormqr("L", trans, v, self._tau, out[1:], -1)[1][0])
        out[1:] = lapack.dormqr("L", trans, v, self._tau, out[1:], work)[0]
        return out

    def _clamped(self, turned: Floats, alpha: float) -> Floats:
        # An α below the rounding of A, on a matrix that is not of full rank.
        values, vectors = eigh_tridiagonal(self._diagonal, self._beside)
        return np.asarray(vectors @ ((vectors.T @ turned) / (np.maximum(values, 0.0) + alpha)[:, None]))
