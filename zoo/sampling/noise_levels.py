"""Noise levels that schedules of every kind have in common: where two networks see equally much noise, whatever times they are told."""

from __future__ import annotations

import math

ENDS = 6.0
"""Bound of the half log-SNR that is told: the one is then 400 times the other, and at the ends of a flow it would be infinite."""


class NoiseLevels:
    """The levels of a schedule x = alpha x0 + sigma eps, by the time that the network is told there.

    A schedule gives alpha(tau), sigma(tau) and told_tau(t), the inverse of its model_time.
    """

    def noise_share(self, t: float) -> float:
        """Share of the noise where the network is told t: the s of the straight path (1 - s) x0 + s eps with the same sigma / alpha,
        which is sigma / (alpha + sigma). Guidance intervals are said in it, for every kind of schedule."""
        tau = self.told_tau(t)
        alpha, sigma = self.alpha(tau), self.sigma(tau)
        return sigma / (alpha + sigma)

    def told_half_log_snr(self, t: float) -> float:
        """log(alpha / sigma) where the network is told t, at least -6 and at most 6: equal values are equal noise, across all schedules."""
        tau = self.told_tau(t)
        alpha, sigma = self.alpha(tau), self.sigma(tau)
        if sigma <= 0:
            return ENDS
        return min(max(math.log(alpha / sigma), -ENDS), ENDS) if alpha > 0 else -ENDS
