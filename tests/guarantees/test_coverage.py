"""The margins hold as often as they say: thousands of splits of synthetic patients against the law they must follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.guarantees.synthetic_patients import Population, draw_patient
from xai.conformal import TooFewPatientsError, conformal_quantile, coverage_law, joint_score, nonconformity_score
from xai.weighted_distance import widened_mask

pytestmark = pytest.mark.guarantee

LEVEL = 1e-3
"""Each check that the law holds is wrong about a right implementation once in a thousand."""
SPLITS, TESTED, POOL = 4000, 200, 300
POPULATIONS = {
    "balls, u = 1": Population(lobes=0.0),
    "lobed shapes, errors that u knows": Population(lobes=0.25, heteroscedastic=0.8, u_knows=True),
    "lobed shapes, errors that u does not know": Population(lobes=0.25, heteroscedastic=0.8),
    "a few patients far worse": Population(heavy_tail=True, heteroscedastic=0.4, u_knows=True),
    "one structure in twenty missed": Population(missed=0.05, heteroscedastic=0.4, u_knows=True),
    "far too little found of some, u grows with the shortfall": Population(too_little=0.2, missed=0.02),
    "two structures jointly": Population(structures=2, heteroscedastic=0.5, u_knows=True),
}


@pytest.fixture(scope="module", params=POPULATIONS)
def scored(request):
    """Name, scores of a pool of patients, and their structures."""
    generator = np.random.default_rng([2026, *request.param.encode()])
    patients = [draw_patient(POPULATIONS[request.param], generator) for _ in range(POOL)]
    scores = np.array(
        [
            joint_score([nonconformity_score(part.truth, part.predicted, part.u, part.spacing_mm) for part in patient])
            for patient in patients
        ]
    )
    return request.param, scores, patients


@pytest.mark.parametrize("patients", [9, 19, 40])
def test_nominal_90_percent_covers_as_the_law_says(scored, patients, record_property):
    """Of a random split of any pool, the number of covered test patients is beta-binomial if scores have no ties."""
    name, scores, _ = scored
    law = coverage_law(patients, 0.1)
    generator = np.random.default_rng(patients)
    covered = np.empty(SPLITS, dtype=int)
    unbounded = 0
    for split in range(SPLITS):
        drawn = generator.permutation(POOL)[: patients + TESTED]
        q = conformal_quantile(scores[drawn[:patients]], 0.1)
        unbounded += np.isinf(q)
        covered[split] = np.count_nonzero(scores[drawn[patients:]] <= q)
    mean = covered.mean() / TESTED
    print(f"\n{name}, n={patients}: covered {mean:.4f}, law {law.mean:.4f}, unbounded margins {unbounded / SPLITS:.3f}")
    assert 0.88 <= mean <= 0.97
    expected = stats.betabinom(TESTED, law.k, patients + 1 - law.k)
    if len(np.unique(scores)) == POOL:
        edges = np.unique(expected.ppf(np.linspace(0, 1, 21)[1:-1]))
        seen = np.bincount(np.searchsorted(edges, covered), minlength=len(edges) + 1)
        probability = np.diff([0.0, *expected.cdf(edges), 1.0])
        assert stats.chisquare(seen, SPLITS * probability).pvalue > LEVEL
    else:  # a tie is covered on both sides: coverage can only be larger
        below = np.array([np.count_nonzero(covered <= count) for count in range(TESTED + 1)]) / SPLITS
        allowed = np.sqrt(np.log(1 / LEVEL) / (2 * SPLITS))  # Dvoretzky, Kiefer, Wolfowitz; one-sided
        assert (below <= expected.cdf(np.arange(TESTED + 1)) + allowed).all()


def test_the_widened_structures_themselves_hold_the_truth(scored):
    """The same, but the masks are widened and looked at; every structure of the patient must be held."""
    _, scores, patients = scored
    generator = np.random.default_rng(5)
    for _ in range(20):
        drawn = generator.permutation(POOL)
        q = conformal_quantile(scores[drawn[:19]], 0.1)
        for number in drawn[19:29]:
            held = all(
                widened_mask(part.predicted, part.u, q, part.spacing_mm)[part.truth].all() for part in patients[number]
            )
            assert held == (scores[number] <= q)


@pytest.mark.parametrize(("patients", "alpha"), [(9, 0.1), (19, 0.05), (30, 0.1), (99, 0.01), (50, 0.2)])
def test_coverage_given_the_calibration_is_beta_k_n_plus_1_minus_k(patients, alpha):
    """Exponential scores, whose coverage below q is known exactly: 1 − exp(−q)."""
    generator = np.random.default_rng(patients)
    coverage = [1 - np.exp(-conformal_quantile(generator.exponential(size=patients), alpha)) for _ in range(5000)]
    law = coverage_law(patients, alpha)
    assert stats.kstest(coverage, stats.beta(law.k, patients + 1 - law.k).cdf).pvalue > LEVEL
    assert np.mean(coverage) == pytest.approx(law.mean, abs=4 * np.std(coverage) / np.sqrt(5000))


def test_an_interpolated_quantile_would_be_caught():
    """numpy's quantile covers too little, and the check above sees it."""
    generator = np.random.default_rng(19)
    coverage = [1 - np.exp(-np.quantile(generator.exponential(size=19), 0.9)) for _ in range(5000)]
    assert stats.kstest(coverage, stats.beta(18, 2).cdf).pvalue < LEVEL
    assert np.mean(coverage) < 0.88


def test_leaving_missed_structures_out_would_be_caught():
    """Calibrated only on patients on whom the model worked, nominal 90 % fails where 15 % are missed."""
    generator = np.random.default_rng(4)
    honest, flattered = [], []
    for _ in range(2000):
        scores = np.where(generator.random(60) < 0.15, np.inf, generator.exponential(size=60))
        known, new = scores[:40], scores[40:]
        honest.append(np.mean(new <= conformal_quantile(known, 0.1)))
        flattered.append(np.mean(new <= conformal_quantile(known[np.isfinite(known)], 0.1)))
    assert np.mean(flattered) < 0.80
    assert np.mean(honest) >= 0.90


def test_too_few_patients_are_never_served():
    for alpha, needed in ((0.1, 9), (0.05, 19), (0.01, 99)):
        for patients in range(needed):
            with pytest.raises(TooFewPatientsError):
                conformal_quantile(np.ones(patients), alpha)
