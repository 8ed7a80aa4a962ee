"""Wang and Jacot 2024, Implicit Bias of SGD in L2-Regularized Linear DNNs: One-Way Jumps from High to Low Rank."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_rank_jumps.py::"
REGION = "tests/lawlib/theory/test_rank_jumps_region.py::"
LANDSCAPE = "tests/lawlib/theory/test_rank_jumps_landscape.py::"
ENTRY = "tests/lawlib/descent/test_single_entry.py::"

PAPER = Paper(
    "Wang and Jacot 2024",
    "Implicit Bias of SGD in L2-Regularized Linear DNNs: One-Way Jumps from High to Low Rank",
    (
        Item(
            "Section 2.2",
            "the representation cost is L times the sum of s_i^(2/L)",
            tests=(THEORY + "test_the_representation_cost_is_that_of_balanced_factors_and_of_no_others",),
        ),
        Item(
            "Section 2.3 and appendix",
            "the update, printed in two forms",
            {"jumps_annealing": "F1.main_text F1.appendix*"},
            (
                ENTRY + "test_converted_rates_make_the_same_step",
                THEORY + "test_the_figures_update_is_in_expectation_a_step_on_the_loss_with_a_quarter_of_the_ridge",
            ),
        ),
        Item(
            "Theorem 3.1",
            "local minima of L_lambda over factors and of C_lambda over matrices correspond",
            {"jumps_theory": "T3.1.*"},
            (LANDSCAPE + "test_every_search_in_matrices_ends_at_a_known_minimum",),
        ),
        Item("Propositions 3.1, A.3", "for all lambda there is a minimum of rank r*", {"jumps_theory": "P3.1.*"}),
        Item(
            "Propositions 3.2, A.4",
            "with a small ridge GD keeps s_{r*} away from 0",
            {"jumps_theory": "P3.2.*"},
        ),
        Item(
            "Section 3.2, B_r",
            "balanced, of low soft rank, bounded: three conditions",
            tests=(REGION + "test_each_bound_decides_on_membership",),
        ),
        Item(
            "Proposition 3.3",
            "the product at a critical point in B_r has a low soft rank",
            tests=(REGION + "test_weights_of_low_soft_rank_have_products_of_low_soft_rank",),
        ),
        Item(
            "Theorem 3.2",
            "B_r is closed under SGD, and is reached",
            {"jumps_annealing": "T3.2.*", "jumps_theory": "B.1.closed*"},
        ),
        Item("Theorem 3.2, ridge", "'for any lambda >= 0'", {"jumps_theory": "S3.2.any*"}),
        Item("Section 3.2, rates", "eta ~ lambda^(4L + 1 + (L+1)/(L-2))", {"jumps_theory": "S3.2.power*"}),
        Item("Section 3.2, flow", "the imbalance decays exponentially", {"jumps_annealing": "F1.balance"}),
        Item(
            "Section 3.2, limitation", "an epoch without replacement may forbid jumps", {"jumps_annealing": "F1.epochs"}
        ),
        Item(
            "Section 3.1, landscape",
            "where minima of rank 2 exist, and where GD ends",
            {"jumps_theory": "S3.1.rank* S3.1.start* S3.1.drift*"},
            (LANDSCAPE + "test_the_ends_of_rank_two_over_eps_and_over_the_ridge_agree",),
        ),
        Item(
            "Figure 1",
            "a jump to rank 1 around t = 2000; branches before it fail, after it succeed",
            {
                "jumps_annealing": "F1.jump F1.by* F1.plateau F1.critical F1.after F1.decline F1.branch.*",
            },
        ),
        Item("Figure 2", "at eps = 0.1 no L = 3 network jumps in time, all L = 4 do", {"jumps_depth": "F2.*"}),
        Item("Figure 3", "longer annealing recovers smaller eps", {"jumps_epsilon": "F3.*"}),
        Item("Figure 4", "all jumps happen in the periods of large eta and lambda", {"jumps_periodic": "F4.*"}),
        Item("Section 4, minima", "'there are three local minima'", {"jumps_theory": "S4.three* T3.1.three*"}),
        Item(
            "Section 4, rank 1",
            "the recovered solution of rank 1 is the global minimum",
            {"jumps_theory": "S4.global*"},
        ),
        Item("Section 4, eps = 1", "'fails to recover the rank 1 solution even for eps = 1'", {"jumps_theory": "F3.*"}),
        Item("Proposition A.1", "critical points are balanced", {"jumps_theory": "S3.1.balance*"}),
        Item(
            "Proposition A.2",
            "a critical point is a minimum or a strict saddle where its product is",
            {"jumps_theory": "T3.1.hessian* T3.1.nearby*"},
            remark="for minima; saddles are not covered",
        ),
        Item("Lemma A.1", "the gradient is Lipschitz in a ball"),
        Item("Proposition A.5", "GD with a ridge stays in a ball, and its loss does not rise"),
        Item("Proposition A.6", "the same as 3.2 for gradient flow under a PL inequality"),
        Item("Lemma A.2", "how long the flow takes under a PL inequality"),
        Item("Proposition A.7", "near every global minimum is one with a PL inequality"),
        Item(
            "Theorem B.1",
            "the constants with which B_r is closed",
            {"jumps_theory": "B.1.*"},
            (
                THEORY + "test_constants_are_those_of_theorem_b1",
                REGION + "test_no_admissible_step_leaves_the_region_and_one_beyond_leaving_steps_does",
            ),
        ),
        Item(
            "Theorem B.2",
            "the probability of reaching B_r, at least (r / min(d_in, d_out))^T",
            tests=(THEORY + "test_the_jump_bound_is_that_of_theorem_b2",),
            remark="the formula; it is smaller than the frequencies by hundreds of orders of magnitude",
        ),
        Item("Lemmas C.1, C.2", "derivatives of functions of eigenvalues, quoted"),
        Item("Lemma D.1", "||G_ij||_F^2 <= 2 (C_1 + C^L)"),
        Item("Propositions D.2, D.3", "a step keeps the norm, and the balance"),
        Item(
            "Theorem D.4",
            "both at once, 'C <= 1/(2 lambda)'",
            {"jumps_theory": "D.4.*"},
            (REGION + "test_every_step_leaves_a_region_as_small_as_theorem_d4_prints",),
        ),
        Item("Theorem D.5, Lemmas D.6 to D.8", "a step keeps the soft rank", remark="judged as a part of Theorem B.1"),
        Item("Theorems E.1, E.2", "the two parts of Theorem B.2"),
        Item(
            "Proposition F.1",
            "Proposition 3.3 for every point of B_r",
            tests=(REGION + "test_weights_of_low_soft_rank_have_products_of_low_soft_rank",),
        ),
    ),
    law=(
        "SGD with weight decay on a deep linear network jumps from higher to lower rank at random times, and "
        "never back."
    ),
    arxiv="2305.16038",
)
