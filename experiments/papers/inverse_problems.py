"""Laus et al. 2025, Solving Inverse Problems with Deep Linear Neural Networks."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_inverse_problems.py::"
RATES = "tests/lawlib/descent/test_rates.py::"
SAMPLES = "tests/lawlib/compress/test_samples.py::"
FIRST_LAYER = "W1.*"

PAPER = Paper(
    "Laus et al. 2025",
    "Solving Inverse Problems with Deep Linear Neural Networks: Global Convergence Guarantees for Gradient Descent "
    "with Weight Decay",
    (
        Item(
            "Figure 1a",
            "weight decay makes a linear network robust to noise",
            {"inverse_robustness": "F1a.*", "inverse_digits": "digits.*"},
        ),
        Item("Figure 1b", "and a ReLU network on a union of subspaces", {"inverse_union": "F1b.*"}),
        Item(
            "Assumption 2.2, A.1",
            "fan-in weights, and the normalized ones of the proofs",
            tests=(
                RATES + "test_entries_have_the_variance_of_fan_in_and_not_twice_that",
                RATES + "test_fan_in_has_one_rate_and_another_trajectory",
            ),
            remark="the paper calls the two the same; their trajectories differ",
        ),
        Item(
            "Section 1, limit",
            "the error on the signals' subspace is 'vanishing in the limit as lambda -> 0': it comes to rest at that "
            "of the minimizers, and at 0 without decay",
            {"inverse_decay": "F4.plateau F4.fit"},
            remark="at three decays; print says it of global minimizers, and of gradient descent",
        ),
        Item("Theorem 2.3", "Theorem A.2, informally", {"inverse_theorem": "A2.*"}),
        Item(
            "Section 2, T",
            "T 'grows only logarithmically with the hidden width': at that T the off-subspace error is small enough",
            {"inverse_theorem": "A2.off A2.slope"},
            (THEORY + "test_the_two_stopping_times_agree_at_the_largest_step_only",),
            "widths 64 to 512; the growth of T is its formula",
        ),
        Item("Section 2, accuracy", "T 'is highly sensitive to the targeted reconstruction accuracy'"),
        Item(
            "Remark 2.4, eqs. (9b), (30b)",
            "T = O(1 / (eta lambda))",
            tests=(THEORY + "test_the_two_stopping_times_agree_at_the_largest_step_only",),
        ),
        Item(
            "Remark 2.5",
            "'Theorem 2.3 remains valid when the step size eta is chosen to be smaller': at a quarter of it",
            {"inverse_theorem": "A2.rate A2.off"},
            remark="with T of eq. (30b), which is longer as 1 / eta",
        ),
        Item("Section 2.1, eqs. (12) to (16)", "the step of the residual at L = 2", remark="a case of Lemma A.6"),
        Item(
            "Section 2.1, eq. (17), Corollary A.18",
            "tau is of order log(1 / gamma)",
            remark="tau is in the summary of inverse_theorem, at one gamma",
        ),
        Item(
            "Section 2.1, singular values",
            "factors of W_2 and W_1 Y between 3/4 and 5/4, later 5/7 and 9/7, of sqrt d_w",
        ),
        Item("Section 2.1, eq. (18)", "the off-subspace error is at most of order (1 - lambda / 2)^t sqrt(d_w / m)"),
        Item(
            "Corollaries 2.6, A.27",
            "test error: the upper bound (19) with weight decay, the lower bound (20) without",
            {"inverse_theorem": "C2.6.*"},
            (THEORY + "test_the_corollarys_bounds",),
            "(19) is a number of the summary",
        ),
        Item(
            "Eq. (80)",
            "without weight decay the test error is of order sigma sqrt(d (m - s) / m): within 6% of it",
            {"inverse_robustness": "F1a.norm F1a.error"},
        ),
        Item(
            "Figure 2",
            "both errors over time for s = 2 to 32: how far they are from each other",
            {"inverse_dimension": "F2.*"},
        ),
        Item(
            "Section 3.1, rate",
            "'suggest that the errors decay at the same rate': slopes off the subspace within 10%",
            {"inverse_dimension": "F2.slope"},
            remark="the rate of the regression error is not judged",
        ),
        Item(
            "Section 3.1, regression",
            "in the regression error 'the differences in magnitude are negligible': below 30% at the end",
            {"inverse_dimension": "F2.fit"},
            remark="our bound",
        ),
        Item(
            "Section 3.1, factor",
            "at every step the off-subspace errors of all s stay within a factor of 2.5",
            {"inverse_dimension": "F2.apart"},
            remark="our bound",
        ),
        Item(
            "Section 3.1, offset",
            "'the off-subspace errors differ by a constant offset across subspace dimensions'",
            remark="the factor is bounded, not that it is constant; it would be with one slope for all s, see F2.slope",
        ),
        Item(
            "Figure 3",
            "'larger L confers a clear advantage with respect to the off-subspace error': early, 0.1 <= x <= 0.5",
            {"inverse_depth": "F3.order"},
        ),
        Item(
            "Figure 3, drop",
            "'the regression error drops to similar levels for all depths'",
            remark="the levels at x = 0.5 are in the summary of inverse_depth",
        ),
        Item(
            "Section 3.2, rise",
            "the regression error 'starts increasing and plateauing': it rises to that of the minimizers",
            {"inverse_depth": "F3.rise F3.plateau", "inverse_decay": "F4.rise"},
            remark="the level is beyond the paper",
        ),
        Item("Section 3.2", "the regression error rests at 'roughly 20 lambda'", {"inverse_depth": "F3.factor"}),
        Item(
            "Section 4, depth",
            "'larger depth, at least up to a certain point, leads to faster convergence' of the regression error",
            remark="of the off-subspace error: Figure 3",
        ),
        Item(
            "Figure 4",
            "'high levels of weight decay reduce the off-subspace error faster', and without decay it stays",
            {"inverse_decay": "F4.order F4.kept"},
        ),
        Item(
            "Figure 4, regression error",
            "'they lead to larger regression error': that of the minimizers, which grows with lambda",
            {"inverse_decay": "F4.plateau F4.fit"},
        ),
        Item("Section 3.3", "'approximately 10 lambda'", {"inverse_decay": "F4.factor"}),
        Item(
            "Section 3, isometry",
            "the RIP constants of the figures' operators exceed the 1/10 of Theorem A.2",
            {
                "inverse_dimension": "A2.rip",
                "inverse_depth": "A2.rip",
                "inverse_decay": "A2.rip",
                "inverse_robustness": "A2.rip",
            },
            remark="beyond the paper",
        ),
        Item(
            "Section 3, operators",
            "'such matrices satisfy Assumption 2.1 with high probability as long as' m is of order s log d",
            remark="some delta; the summaries have it over 1/10",
        ),
        Item(
            "Section 3, step size",
            "'All our experiments use step sizes that are covered by our theory': eta = 0.1 with d_w = 1000",
            {"inverse_depth": "F3/4.eta", "inverse_decay": "F3/4.eta"},
        ),
        Item(
            "Section 3, gamma",
            "'all weight decay parameters used correspond to a valid gamma in (0, 1)'",
            remark="gamma is a formula: sqrt 2 lambda at kappa = 1 and d = 2m; the cap on lambda is the next item",
        ),
        Item(
            "Eq. (29), Remark A.4",
            "lambda <= L sigma_min^2 / (400 * 35), 'automatically satisfied for small enough gamma'",
            tests=(THEORY + "test_the_hypotheses_are_quantities_that_reach_one_at_their_limits",),
            remark="the formula; the summaries have lambda over it, often above 1",
        ),
        Item(
            "Claim 1",
            "n samples are s compressed ones",
            {"inverse_decay": "C1.samples"},
            (SAMPLES + "test_iterates_are_those_of_all_samples",),
        ),
        Item(
            "Theorem A.2",
            "the rate of phase 1 (31), and the off-subspace error at T (32)",
            {"inverse_theorem": "A2.*"},
            (
                THEORY + "test_the_bounds_of_the_theorem",
                THEORY + "test_the_hypotheses_are_quantities_that_reach_one_at_their_limits",
            ),
        ),
        Item("Theorem A.2, probability", "'probability of at least' 1 - c_1 exp(-c_2 d)"),
        Item("Lemma A.5", "W_i(t) stays near (1 - eta lambda / d_i)^t W_i(0)"),
        Item(
            "Lemma A.6, eq. (38)",
            "one step of the product, and the operator P(t)",
            tests=(THEORY + "test_the_operator_moves_the_residual_to_first_order",),
        ),
        Item(
            "Lemma A.7",
            "bounds on the eigenvalues of P",
            tests=(THEORY + "test_the_operator_is_the_kronecker_sum_and_its_largest_eigenvalue_is_found",),
            remark="the eigenvalue itself is computed, the bounds are not covered",
        ),
        Item("Lemmas A.8 to A.11", "singular values of products, and the residual, at initialization"),
        Item(
            "Theorem A.12, Lemmas A.13 to A.22",
            "the induction of phase 1",
            {"inverse_theorem": "A2.rate"},
            remark="its result, not its steps",
        ),
        Item(
            "Theorem A.23, Lemmas A.24 to A.26",
            "the induction of phase 2: the residual stays below C_1 gamma ||X||",
            remark="a number of the summary of inverse_theorem",
        ),
        Item(
            "Appendix A.7",
            "off the subspace W_1 shrinks by 1 - eta lambda a step, exactly",
            {
                "inverse_theorem": FIRST_LAYER,
                "inverse_dimension": FIRST_LAYER,
                "inverse_depth": FIRST_LAYER,
                "inverse_decay": FIRST_LAYER,
                "inverse_robustness": FIRST_LAYER,
                "inverse_digits": FIRST_LAYER,
            },
            (THEORY + "test_the_first_layer_decays_exactly_across_the_inputs",),
        ),
        Item(
            "Eq. (75)",
            "at T the off-subspace error is at most of order d_w^(-3/2)",
            {"inverse_theorem": "A2.off A2.slope"},
        ),
        Item("Lemma B.1", "a global minimizer is zero off the subspace"),
        Item("Lemma B.2", "the mean squared norm of a product of Gaussian matrices times a vector"),
        Item("Theorem B.3, Lemmas B.4, B.5", "inequalities for products and sums"),
    ),
    law=(
        "Weight decay makes a deep linear network for inverse problems forget what lies outside of the "
        "subspace of the signals, so that it is robust to noise."
    ),
    arxiv="2502.15522",
)
