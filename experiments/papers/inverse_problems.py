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
            {"inverse_robustness": "F1a.* W1.*", "inverse_digits": "digits.* W1.*"},
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
        Item("Theorem 2.3", "Theorem A.2, informally", {"inverse_theorem": "A2.* W1.*"}),
        Item(
            "Remark 2.4, eqs. (9b), (30b)",
            "T = O(1 / (eta lambda))",
            tests=(THEORY + "test_the_two_stopping_times_agree_at_the_largest_step_only",),
        ),
        Item(
            "Corollaries 2.6, A.27",
            "test error: the upper bound (19) with weight decay, the lower bound (20) without",
            {"inverse_theorem": "C2.6.*"},
            (THEORY + "test_the_corollarys_bounds",),
            "(19) is a number of the summary",
        ),
        Item("Figure 2", "the dimension s changes neither error's rate", {"inverse_dimension": "F2.* W1.*"}),
        Item(
            "Section 3.1",
            "the regression errors are alike, off-subspace errors 'differ by a constant offset'",
            {"inverse_dimension": "F2.fit F2.apart"},
        ),
        Item(
            "Figure 3", "larger L falls faster off the subspace", {"inverse_depth": "F3.order F3.rise F3.plateau W1.*"}
        ),
        Item("Section 3.2", "the regression error rests at 'roughly 20 lambda'", {"inverse_depth": "F3.factor"}),
        Item(
            "Figure 4",
            "more weight decay: faster off the subspace, larger regression error",
            {"inverse_decay": "F4.order F4.kept F4.fit F4.plateau F4.rise W1.*"},
        ),
        Item("Section 3.3", "'approximately 10 lambda'", {"inverse_decay": "F4.factor"}),
        Item(
            "Section 3, isometry",
            "the figures are 'covered by our theory': the RIP constant",
            {
                "inverse_dimension": "A2.rip",
                "inverse_depth": "A2.rip",
                "inverse_decay": "A2.rip",
                "inverse_robustness": "A2.rip",
            },
        ),
        Item(
            "Section 3, step size",
            "the same: eta = 0.1 with d_w = 1000",
            {"inverse_depth": "F3/4.eta", "inverse_decay": "F3/4.eta"},
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
            {"inverse_theorem": "A2.* W1.*"},
            (
                THEORY + "test_the_bounds_of_the_theorem",
                THEORY + "test_the_hypotheses_are_quantities_that_reach_one_at_their_limits",
            ),
        ),
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
        Item("Corollary A.18", "a bound on tau"),
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
            },
            (THEORY + "test_the_first_layer_decays_exactly_across_the_inputs",),
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
