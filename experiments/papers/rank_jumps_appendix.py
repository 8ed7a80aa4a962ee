"""The appendices of Wang and Jacot 2024: landscape, B_r, and the proofs that SGD comes to it and stays."""

from experiments.papers.item import Item

__all__ = ["APPENDIX"]

THEORY = "tests/lawlib/theory/test_rank_jumps.py::"
REGION = "tests/lawlib/theory/test_rank_jumps_region.py::"
LEMMAS = "tests/lawlib/theory/test_rank_jumps_lemmas.py::"
FLOW = "tests/lawlib/theory/test_rank_jumps_flow_lemmas.py::"

APPENDIX = (
    Item("Proposition A.1", "critical points are balanced", {"jumps_theory": "S3.1.balance*"}),
    Item(
        "Proposition A.2",
        "a critical point is a minimum or a strict saddle where its product is",
        {"jumps_theory": "T3.1.hessian* T3.1.nearby*"},
        (FLOW + "test_proposition_a2_the_saddles_of_both_losses_are_strict_and_the_same",),
        "the tests: saddles of rank 1 and 2 of the 2 x 2 problem; maxima are not covered",
    ),
    Item(
        "Lemma A.1",
        "the gradient is Lipschitz in a ball",
        tests=(
            FLOW + "test_lemma_a1_the_gradient_is_lipschitz_in_a_ball",
            FLOW + "test_lemma_a1_is_attained_by_two_layers",
            FLOW + "test_lemma_a1_and_proposition_a5_as_printed_fail_for_many_entries",
        ),
        remark="with ((2L-1) D^(2L-2) + (L-1) ||A*|| D^(L-2))/N + 2 lambda; the printed H divides the ridge by N "
        "too and is too small, for L = 3 from N = 9 on",
    ),
    Item(
        "Proposition A.5",
        "GD with a ridge stays in a ball, and its loss does not rise",
        tests=(
            FLOW + "test_proposition_a5_descent_stays_in_the_ball_and_does_not_rise",
            FLOW + "test_proposition_a5_at_a_hundredth_more_than_its_step_fails",
            FLOW + "test_lemma_a1_and_proposition_a5_as_printed_fail_for_many_entries",
        ),
        remark="with the corrected H of Lemma A.1; with the printed one the loss rises at N = 9",
    ),
    Item(
        "Proposition A.6",
        "the same as 3.2 for gradient flow under a PL inequality",
        tests=(FLOW + "test_proposition_a6_the_flow_keeps_the_rank_that_a_fit_needs",),
        remark="one start at eps = 0, where a fit needs rank 2, and two ridges",
    ),
    Item(
        "Lemma A.2",
        "how long the flow takes under a PL inequality",
        tests=(
            FLOW + "test_lemma_a2_the_flow_is_fast_under_a_pl_inequality",
            FLOW + "test_lemma_a2_with_its_printed_radius_is_false",
            FLOW + "test_lemma_a2_as_printed_has_a_negative_time",
        ),
        remark="in a ball of twice the printed radius (the proof's integral lacks a factor 2) and with "
        "log(L_lambda(theta_0)/(lambda k_0))/beta; the printed time lacks the start's loss",
    ),
    Item(
        "Proposition A.7",
        "near every global minimum is one with a PL inequality",
        tests=(
            FLOW + "test_proposition_a7_near_a_global_minimum_is_one_with_a_pl_inequality",
            FLOW + "test_proposition_a7_the_pl_constant_is_that_of_the_lower_layers",
            FLOW + "test_the_pl_constant_of_proposition_a7_is_attained",
        ),
        remark="near the balanced minimum of rank 1 of the 2 x 2 problem; in Lemma A.2's terms beta is half of the "
        "printed 2 sigma^2/N",
    ),
    Item(
        "After Proposition A.7",
        "'minima that are balanced and low-rank typically do not satisfy it'",
        tests=(
            FLOW + "test_a_balanced_minimum_of_low_rank_has_no_pl_inequality_where_all_is_observed",
            FLOW + "test_the_balanced_minimum_of_the_2_x_2_completion_has_a_pl_inequality",
        ),
        remark="where all is observed; that of rank 1 of the paper's 2 x 2 problem does satisfy it",
    ),
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
        remark="the formula; at Figure 1's rates, which it does not cover, it is below the frequencies by almost 200 "
        "orders of magnitude",
    ),
    Item(
        "Lemmas C.1, C.2",
        "derivatives of functions of eigenvalues, quoted",
        tests=(
            FLOW + "test_lemmas_c1_and_c2_give_the_derivatives_of_a_spectral_function",
            FLOW + "test_lemma_c1_gives_the_gradient_of_the_soft_rank",
        ),
        remark="the formulas, for one polynomial, equal eigenvalues included, and for the soft rank; 'if and only "
        "if' is not covered",
    ),
    Item(
        "Lemma D.1",
        "||G_ij||_F^2 <= 2 (C_1 + C^L)",
        tests=(LEMMAS + "test_lemma_d1_bounds_the_residual", LEMMAS + "test_lemma_d1_is_attained"),
    ),
    Item(
        "Propositions D.2, D.3",
        "a step keeps the norm, and the balance",
        tests=(
            LEMMAS + "test_proposition_d2_a_step_keeps_the_norm",
            LEMMAS + "test_proposition_d2_fails_at_four_to_eight_times_its_step",
            LEMMAS + "test_proposition_d2_as_printed_has_a_power_of_c_too_many",
            LEMMAS + "test_proposition_d3_a_step_keeps_the_balance",
            LEMMAS + "test_proposition_d3_fails_at_five_times_its_step",
        ),
        remark="D.2 with C^(L-1), as in Theorem B.1; with its printed C^L it is false for small C",
    ),
    Item(
        "Theorem D.4",
        "both at once, 'C <= 1/(2 lambda)'",
        {"jumps_theory": "D.4.*"},
        (REGION + "test_every_step_leaves_a_region_as_small_as_theorem_d4_prints",),
    ),
    Item(
        "Theorem D.5, Lemmas D.6 to D.8",
        "a step keeps the soft rank",
        tests=(
            LEMMAS + "test_theorem_d5_a_step_keeps_the_soft_rank",
            LEMMAS + "test_lemma_d6_bounds_the_second_order_of_any_step",
            LEMMAS + "test_lemma_d6_is_within_a_factor_of_seven",
            LEMMAS + "test_lemma_d7_above_the_middle_of_the_slack_the_soft_rank_falls",
            LEMMAS + "test_lemma_d8_below_it_the_soft_rank_grows_by_half_the_slack_at_most",
            LEMMAS + "test_the_bounds_on_e_and_beta_are_attained_at_zero",
            LEMMAS + "test_the_chain_of_inequalities_of_lemma_d7",
            LEMMAS + "test_beyond_the_cutoff_of_the_drawn_entry_soft_ranks_grow",
            LEMMAS + "test_theorem_d5_as_printed_is_false_for_steep_weights",
            LEMMAS + "test_lemma_d7_is_false_for_steep_weights",
        ),
        remark="with Theorem B.1's constants and the paper's f_alpha, K = 2; for large K Theorem D.5 as printed, "
        "without K, and Lemma D.7 are false",
    ),
    Item(
        "Theorems E.1, E.2",
        "the two parts of Theorem B.2",
        tests=(
            LEMMAS + "test_theorem_e1_every_start_comes_to_the_balanced_set",
            LEMMAS + "test_theorem_e1_needs_almost_half_of_its_steps",
            LEMMAS + "test_theorem_e2_drawing_from_few_columns_leaves_the_rest_to_decay",
            LEMMAS + "test_theorem_e2_those_draws_end_in_the_region",
            LEMMAS + "test_the_best_columns_hold_their_share_of_the_entries",
        ),
        remark="E.2 by its proof: the event and its probability, at the eta of E.1, which it does not name",
    ),
    Item(
        "Proposition F.1",
        "Proposition 3.3 for every point of B_r",
        tests=(REGION + "test_weights_of_low_soft_rank_have_products_of_low_soft_rank",),
    ),
)
