"""Expectation maximisation on arrays: the engine of `annotators.people.prototypes`, without frames.

A mixture of Bradley-Terry models (Bradley and Terry 1952) over annotators: everybody belongs to one
of K prototypes, and a prototype with weights w prefers A to B with probability S(x . w), S the
logistic function and x the pair's vector. All that an annotator said shares one membership: what is
mixed is people, not pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

STARTS = 6
SCOUTING = 4  # rounds after which only the best start goes on
DIRECTIONS = 16  # that the starts are scouted in, beside the pool's own
MAX_ROUNDS = 50
TOLERANCE = 1e-3  # stop when a round gains less log likelihood than this for each annotator
NEWTON = 50  # steps at most, where they are to converge
CG_STEPS = 2
HALVINGS = 12


@dataclass(frozen=True)
class Prior:
    """Standard deviations, in logits, for a vector of length 1: of w . x of the `pool` about 0, and
    of w . x of a prototype about that of the pool (`apart`)."""

    pool: float
    apart: float


@dataclass(frozen=True, eq=False)
class Tally:
    """`vectors` (pairs, d), and two sparse arrays (pairs, annotators): how often each annotator
    judged each pair (`count`), and the sum of the p that A is better which they gave (`wins`)."""

    vectors: Array
    count: Any
    wins: Any

    @property
    def people(self) -> int:
        return int(self.count.shape[1])

    @cached_property
    def size(self) -> float:
        """Opinions, at least 1."""
        return max(float(self.count.sum()), 1.0)

    @cached_property
    def squares(self) -> Array:
        """The diagonal of the sum of x x' over opinions."""
        of_pair = np.asarray(self.count.sum(axis=1)).ravel()
        return np.einsum("ij,ij,i->j", self.vectors, self.vectors, of_pair)


@dataclass(frozen=True, eq=False)
class State:
    """S starts of one mixture: `memberships` (annotators, S, K), `weights` (S, K, d), what these
    say of each pair, `z` (pairs, S, K), `shares` (S, K) that add up to one over K, and the
    `objective` (S,) that a round never lowers: the log likelihood of weights and shares, with
    their priors."""

    memberships: Array
    weights: Array
    z: Array
    shares: Array
    objective: Array

    def pick(self, start: int) -> State:
        at = slice(start, start + 1)
        return State(self.memberships[:, at], self.weights[at], self.z[:, at], self.shares[at],
                     self.objective[at])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mixture:
    """`weights` (K, d) and `shares` (K,) of the prototypes, and the weights of the `pool` (d,).
    Where prototypes were `merged` (how many annotators each of them had), the last of the K is the
    pool in their place, `pooled`."""

    weights: Array
    shares: Array
    pool: Array
    merged: tuple[int, ...] = ()
    pooled: bool = False


def fit_pool(tally: Tally, ridge: float) -> Array:
    """The weights (d,) of everybody together: maximum likelihood with ridge/2 ||w||²."""
    nothing = np.zeros(tally.vectors.shape[1])
    everybody = np.ones((tally.people, 1))
    return climb(tally, everybody, nothing[None], nothing, ridge, NEWTON)[0]


def fit_mixture(
    tally: Tally,
    k: int,
    prior: Prior,
    least: int,
    seed: int,
    pool: Array | None = None,
) -> Mixture:
    """Fit the pool, shrunk to 0, and K prototypes, shrunk to the pool, from the best of `STARTS`
    starts (`scout`). Prototypes of under `least` annotators are merged into the pool (see
    `merge_small`). The pool can be given, where it is known.
    """
    pool = fit_pool(tally, 1 / prior.pool**2) if pool is None else pool
    everybody = np.ones((tally.people, 1))
    if prior.apart == 0:
        return Mixture(pool[None], np.ones(1), pool)
    ridge = 1 / prior.apart**2
    if k == 1:
        own = climb(tally, everybody, pool[None], pool, ridge, NEWTON)
        return Mixture(own, np.ones(1), pool)
    state = scout(tally, pool, k, ridge, least, seed)
    for _ in range(MAX_ROUNDS):
        before, state = state, advance(tally, state, pool, ridge)
        if state.objective[0] - before.objective[0] < TOLERANCE * tally.people:
            break
    return _merge_start(tally, state, 0, pool, least)


def scout(tally: Tally, pool: Array, k: int, ridge: float, least: int, seed: int) -> State:
    """The start that says most of the opinions after `SCOUTING` rounds, its small prototypes
    merged. Where there are many dimensions the starts move in a few of them alone, the pool's own
    and the `DIRECTIONS` in which annotators pull it most: what is left of a start are its
    memberships, and for these so much is enough."""
    narrow, middle, basis = tally, pool, None
    if len(pool) > DIRECTIONS + 1:
        pull, scale = measure_pull(tally, pool, ridge)
        apart = find_leading(pull, DIRECTIONS) / scale[:, None]
        basis = np.linalg.qr(np.column_stack([pool, apart]))[0]
        narrow = Tally(tally.vectors @ basis, tally.count, tally.wins)
        middle = pool @ basis
    state = begin(narrow, middle, k, ridge, seed)
    for _ in range(SCOUTING):
        state = advance(narrow, state, middle, ridge)
    merged = [_merge_start(narrow, state, start, middle, least) for start in range(STARTS)]
    told = [place(score(narrow, one.weights), one.shares)[1].sum() for one in merged]
    best = state.pick(int(np.argmax(told)))
    if basis is None:
        return best
    weights = best.weights @ basis.T
    return replace(best, weights=weights, z=(tally.vectors @ weights[0].T)[:, None])


def merge_small(tally: Tally, mixture: Mixture, least: int) -> Mixture:
    """Put the pool in the place of the smallest prototype, until each is the likeliest of `least`
    annotators or more; all that the pool replaces is one member of the mixture, the last."""
    while True:
        memberships, _ = place(score(tally, mixture.weights), mixture.shares)
        members = _count_members(memberships)[: len(mixture.shares) - mixture.pooled]
        if not len(members) or members.min() >= least:
            return mixture
        worst = int(members.argmin())
        kept = np.delete(np.arange(len(members)), worst)
        mixture = Mixture(
            np.concatenate([mixture.weights[kept], mixture.pool[None]]),
            np.append(mixture.shares[kept], 1 - mixture.shares[kept].sum()),
            mixture.pool,
            (*mixture.merged, int(members[worst])),
            pooled=True,
        )


def begin(tally: Tally, pool: Array, k: int, ridge: float, seed: int) -> State:
    """Starts apart from one another: annotators by where they pull the pool.

    Where an annotator pulls is the slope of their log likelihood at the pool, in the pool's own
    units. The K leading directions of these are kept (in many dimensions the rest is noise), and
    everybody goes to the nearest of K annotators drawn at random.
    """
    pull = measure_pull(tally, pool, ridge)[0]
    spots = pull @ find_leading(pull, k)
    generator = np.random.default_rng([seed, k])
    people = tally.people
    drawn = [generator.choice(people, k, replace=people < k) for _ in range(STARTS)]
    nearest = [((spots[:, None] - spots[at]) ** 2).sum(axis=2).argmin(axis=1) for at in drawn]
    return _start(tally, pool, np.eye(k)[np.stack(nearest, axis=1)])


def measure_pull(tally: Tally, pool: Array, ridge: float) -> tuple[Array, Array]:
    """The slope (annotators, d) of everybody's log likelihood at the pool, in units of the roots
    (d,) of its curve, which come with it."""
    surprise = tally.wins - tally.count.multiply(expit(tally.vectors @ pool)[:, None])
    scale = np.sqrt(tally.squares / 4 + ridge)
    return (surprise.T @ tally.vectors) / scale, scale


def find_leading(rows: Array, k: int) -> Array:
    """The k directions (d, k) that tell most of the rows, the greatest last; all d, where there
    are no more."""
    d = rows.shape[1]
    return np.linalg.eigh(rows.T @ rows)[1][:, -k:] if d > k else np.eye(d)


def advance(tally: Tally, state: State, pool: Array, ridge: float) -> State:
    """A round: weights and shares from the memberships, then memberships from these. Shares have
    one pseudo-annotator each, so that none dies out."""
    starts, k, d = state.weights.shape
    memberships = state.memberships.reshape(tally.people, starts * k)
    begun, z = state.weights.reshape(starts * k, d), state.z.reshape(len(state.z), starts * k)
    moved, z = _climb(tally, memberships, begun, z, pool, ridge, 1)
    weights, z = moved.reshape(starts, k, d), z.reshape(state.z.shape)
    shares = (state.memberships.sum(axis=0) + 1) / (tally.people + k)
    memberships, total = place(_score(tally, z), shares)
    prior = np.log(shares).sum(axis=1) - ridge / 2 * ((weights - pool) ** 2).sum(axis=(1, 2))
    return State(memberships, weights, z, shares, total.sum(axis=0) + prior)


def score(tally: Tally, weights: Array) -> Array:
    """The log likelihood (annotators, ...) of what each annotator said under weights (..., d)."""
    z = tally.vectors @ weights.reshape(prod(weights.shape[:-1]), -1).T
    return _score(tally, z.reshape(len(z), *weights.shape[:-1]))


def place(likelihood: Array, shares: Array) -> tuple[Array, Array]:
    """Memberships (..., K) from log likelihoods (..., K), and the log likelihood over all K."""
    joint = likelihood + np.log(shares)
    top = joint.max(axis=-1, keepdims=True)
    raised = np.exp(joint - top)
    total = raised.sum(axis=-1, keepdims=True)
    return raised / total, (top + np.log(total))[..., 0]


def climb(
    tally: Tally, memberships: Array, start: Array, centre: Array, ridge: float, steps: int
) -> Array:
    """Move each of B weights (B, d) uphill in

        sum over annotators u of memberships[u, b] log likelihood_u(w_b) - ridge/2 ||w_b - centre||²

    by at most `steps` steps of Newton's method, whose linear systems are solved by conjugate
    gradients, all B at once. A step that does not gain is halved until it does, or not taken.
    """
    return _climb(tally, memberships, start, tally.vectors @ start.T, centre, ridge, steps)[0]


def _climb(
    tally: Tally,
    memberships: Array,
    start: Array,
    z: Array,
    centre: Array,
    ridge: float,
    steps: int,
) -> tuple[Array, Array]:
    """`climb` from weights that say z (pairs, B); the weights reached, and what they say."""
    x, weights, middle = tally.vectors, start.T.copy(), centre[:, None]
    n, wins = tally.count @ memberships, tally.wins @ memberships
    squares = tally.squares[:, None]

    def evaluate(z: Array, weights: Array) -> Array:
        fitted: Array = (wins * z - n * _softplus(z)).sum(axis=0)
        return fitted - ridge / 2 * ((weights - middle) ** 2).sum(axis=0)

    value = evaluate(z, weights)
    for _ in range(steps):
        p = expit(z)
        curve = n * p * (1 - p)
        slope = x.T @ (wins - n * p) - ridge * (weights - middle)
        weight = squares * curve.sum(axis=0) / tally.size + ridge
        step, moved = _solve(x, curve, ridge, slope, weight)
        size = np.ones(len(start))
        for _ in range(HALVINGS):
            reached = evaluate(z + size * moved, weights + size * step)
            if (reached >= value).all():
                break
            size[reached < value] /= 2
        taken = reached >= value
        size *= taken
        weights, z = weights + size * step, z + size * moved
        gained = np.where(taken, reached - value, 0.0)
        value = value + gained
        if gained.sum() < 1e-9 * tally.size:
            break
    return weights.T.copy(), z


def _solve(
    x: Array, curve: Array, ridge: float, slope: Array, diagonal: Array
) -> tuple[Array, Array]:
    """Conjugate gradients for (x' diag(curve_b) x + ridge) step_b = slope_b, from 0; however early
    it ends, the step leads uphill. The steps, and x times them."""
    step, moved, left = np.zeros_like(slope), np.zeros_like(curve), slope.copy()
    along = left / diagonal
    gain = first = (left * along).sum(axis=0)
    for at in range(CG_STEPS):
        ahead = x @ along
        bend = (curve * ahead**2).sum(axis=0) + ridge * (along**2).sum(axis=0)
        size = _divide(gain, bend)
        step += size * along
        moved += size * ahead
        if at + 1 == CG_STEPS:
            break
        left -= size * (x.T @ (curve * ahead) + ridge * along)
        aimed = left / diagonal
        before, gain = gain, (left * aimed).sum(axis=0)
        if (gain <= 1e-6 * first).all():
            break
        along = aimed + _divide(gain, before) * along
    return step, moved


def _divide(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _start(tally: Tally, pool: Array, memberships: Array) -> State:
    """Everybody in the place that `memberships` (annotators, S, K) give them, the weights still
    the pool's."""
    starts, k = memberships.shape[1:]
    weights = np.broadcast_to(pool, (starts, k, len(pool)))
    z = np.broadcast_to((tally.vectors @ pool)[:, None, None], (len(tally.vectors), starts, k))
    return State(memberships, weights, z, np.full((starts, k), 1 / k), np.full(starts, -np.inf))


def _score(tally: Tally, z: Array) -> Array:
    """`score` of weights that say z (pairs, ...)."""
    flat = z.reshape(len(z), prod(z.shape[1:]))
    found = tally.wins.T @ flat - tally.count.T @ _softplus(flat)
    return found.reshape(tally.people, *z.shape[1:])


def _merge_start(tally: Tally, state: State, start: int, pool: Array, least: int) -> Mixture:
    order = np.argsort(-state.shares[start], kind="stable")
    mixture = Mixture(state.weights[start][order], state.shares[start][order], pool)
    return merge_small(tally, mixture, least)


def _count_members(memberships: Array) -> NDArray[np.int64]:
    """How many annotators each prototype is the likeliest of."""
    return np.bincount(memberships.argmax(axis=1), minlength=memberships.shape[1])


def _softplus(z: Array) -> Array:
    """log(1 + exp(z))"""
    soft: Array = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    return soft
