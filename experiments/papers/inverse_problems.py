"""Laus et al. 2025, Solving Inverse Problems with Deep Linear Neural Networks."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_inverse_problems.py::"
LEMMAS = "tests/lawlib/theory/test_inverse_problems_lemmas.py::"
PHASES = "tests/lawlib/theory/test_inverse_problems_phase_lemmas.py::"
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
        Item(
            "Section 2, accuracy",
            "T 'is highly sensitive to the targeted reconstruction accuracy': in proportion to its inverse",
            {"inverse_decay": "S2.accuracy"},
        ),
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
        Item(
            "Section 2.1, eqs. (12) to (16)",
            "the step of the residual at L = 2",
            tests=(
                PHASES + "test_the_states_use_up_the_control_of_the_singular_values",
                PHASES + "test_a_step_of_two_layers_is_the_operator_a_decay_and_a_square",
                PHASES + "test_the_printed_operator_at_two_layers",
                PHASES + "test_terms_of_second_order_are_folded_into_the_first",
                PHASES + "test_the_terms_of_second_order_need_the_width",
                PHASES + "test_a_step_decreases_the_residual_up_to_a_term_of_the_decay",
                PHASES + "test_above_the_level_of_the_first_phase_a_step_decreases_the_residual",
                PHASES + "test_folding_does_not_give_a_decrease_at_the_largest_step",
                PHASES + "test_in_the_first_phase_all_steps_decrease_the_residual",
            ),
            remark="on weights whose singular values reach 3/4 and 5/4; P is printed without I, and with W_2^T W_2 for "
            "W_2 W_2^T; (15) holds at eta = m / (2 sigma_max^2), but does not follow from (13) and (14), which give a "
            "factor of 1.05 there",
        ),
        Item(
            "Section 2.1, eq. (17), Corollary A.18",
            "tau is of order log(1 / gamma)",
            tests=(
                LEMMAS + "test_the_slowest_decrease_that_is_allowed_ends_the_first_phase_in_time",
                PHASES + "test_the_first_phase_of_descent_takes_a_time_linear_in_the_logarithm_of_the_accuracy",
            ),
            remark="the bound from (31) and (57); in descent at four gamma, a tenth of the one before each",
        ),
        Item(
            "Section 2.1, singular values",
            "factors of W_2 and W_1 Y between 3/4 and 5/4, later 5/7 and 9/7, of sqrt d_w",
            tests=(
                PHASES + "test_singular_values_stay_within_a_quarter_in_the_first_phase",
                PHASES + "test_singular_values_stay_within_two_sevenths_in_the_second_phase",
            ),
            remark="in runs of one draw, at d_w = 256 and 100 and the cap on lambda",
        ),
        Item(
            "Section 2.1, eq. (18)",
            "the off-subspace error is at most of order (1 - lambda / 2)^t sqrt(d_w / m)",
            tests=(
                PHASES + "test_the_off_subspace_error_decays_by_half_of_lambda_a_step",
                PHASES + "test_the_rate_of_the_off_subspace_error_is_that_of_signals_with_singular_value_one",
                PHASES + "test_the_product_without_its_normalization_is_not_of_that_order",
            ),
            remark="with the constant 1, in one run; the product must be normalized by sqrt(d_w m), and sigma_max(X) "
            "be 1: the rate is 1 - lambda / (2 sigma_max^2)",
        ),
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
            {"inverse_dimension": "F2.offset"},
        ),
        Item(
            "Figure 3",
            "'larger L confers a clear advantage with respect to the off-subspace error': early, 0.1 <= x <= 0.5",
            {"inverse_depth": "F3.order"},
        ),
        Item(
            "Figure 3, drop",
            "'the regression error drops to similar levels for all depths'",
            {"inverse_depth": "F3.levels"},
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
            "'larger depth, at least up to a certain point, leads to faster convergence' of both errors",
            {"inverse_depth": "S4.time*"},
            remark="over x = eta lambda t",
        ),
        Item(
            "Section 4, depth in steps",
            "in steps of 1.5 / lambda_max(P(0)) both errors take longer where the network is deeper",
            {"inverse_depth": "S4.steps*"},
            remark="beyond the paper, where all depths have one step size",
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
            tests=(
                LEMMAS + "test_gaussian_operators_are_isometries_with_s_log_d_measurements",
                LEMMAS + "test_the_isometry_constant_on_one_subspace_does_not_depend_on_the_dimension",
            ),
            remark="at m = 4 s log d, for a delta below (1 + sqrt(s / m) + t)^2 - 1 that is over 1/10; m of order s "
            "would do on one subspace",
        ),
        Item(
            "Section 3, step size",
            "'All our experiments use step sizes that are covered by our theory': eta = 0.1 with d_w = 1000",
            {"inverse_depth": "F3/4.eta", "inverse_decay": "F3/4.eta"},
        ),
        Item(
            "Section 3, gamma",
            "'all weight decay parameters used correspond to a valid gamma in (0, 1)'",
            tests=(
                LEMMAS + "test_the_printed_decays_have_an_accuracy_between_zero_and_one",
                LEMMAS + "test_a_valid_accuracy_does_not_make_a_valid_decay",
            ),
            remark="gamma is sqrt 2 lambda, and 0 for the lambda = 0 of Figures 1 and 4; of the others only lambda = "
            "1e-4 is below the cap, which is the next item",
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
        Item(
            "Theorem A.2, probability",
            "'probability of at least' 1 - c_1 exp(-c_2 d)",
            tests=(
                PHASES + "test_all_of_many_draws_have_what_theorem_a2_says",
                LEMMAS + "test_the_first_residual_is_bounded_with_a_probability_that_is_exponential_in_the_dimension",
            ),
            remark="in a finite form: all of 8 draws have (31) and (32), at a lambda above the cap; the frequency of "
            "draws without (57) is exponential in d, while that of draws without (31) or (32) is not measured",
        ),
        Item(
            "Lemma A.5",
            "W_i(t) stays near (1 - eta lambda / d_i)^t W_i(0)",
            tests=(PHASES + "test_the_weights_stay_near_their_decayed_start",),
            remark="in four norms, for eta lambda <= d_i",
        ),
        Item(
            "Lemma A.6, eq. (38)",
            "one step of the product, and the operator P(t)",
            tests=(THEORY + "test_the_operator_moves_the_residual_to_first_order",),
        ),
        Item(
            "Lemma A.7",
            "bounds on the eigenvalues of P",
            tests=(
                THEORY + "test_the_operator_is_the_kronecker_sum_and_its_largest_eigenvalue_is_found",
                LEMMAS + "test_the_eigenvalues_of_the_operator_are_within_the_bounds_of_the_layers",
                LEMMAS + "test_the_lower_bound_needs_the_smallest_singular_value_and_not_the_smallest_one_above_zero",
            ),
            remark="sigma_min is the smallest singular value: with the smallest nonzero one, as in Section 1.2, (42) "
            "is wrong for d_w < s",
        ),
        Item(
            "Lemmas A.8 to A.11",
            "singular values of products, and the residual, at initialization",
            tests=(
                LEMMAS + "test_the_law_at_the_start_is_that_of_the_matrices_themselves",
                LEMMAS + "test_products_of_the_first_layers_are_well_conditioned_on_the_data_at_the_start",
                LEMMAS + "test_products_of_the_last_layers_are_well_conditioned_at_the_start",
                LEMMAS + "test_the_bounds_at_the_start_fail_with_a_probability_that_is_exponential_in_width_over_depth",
                LEMMAS + "test_products_of_square_layers_are_of_the_order_of_the_root_of_the_depth",
                LEMMAS + "test_the_first_residual_is_of_the_order_of_the_root_of_d_over_m",
                LEMMAS + "test_the_first_residual_is_bounded_with_a_probability_that_is_exponential_in_the_dimension",
                LEMMAS + "test_a_width_of_the_order_of_the_depth_times_the_measurements_does_not_suffice",
            ),
            remark="the probabilities as frequencies, of A.8 and A.11; A.9 with 1 / c = 3, on one draw; A.11 prints "
            "d_w of order L m and needs L d, as in its proof: at 4 L m a share of over 1/10 fails for every d",
        ),
        Item(
            "Theorem A.12, Lemmas A.13 to A.22",
            "the induction of phase 1",
            {"inverse_theorem": "A2.rate"},
            remark="its result, not its steps",
        ),
        Item(
            "Theorem A.23, Lemmas A.24 to A.26",
            "the induction of phase 2: the residual stays below C_1 gamma ||X||",
            tests=(
                PHASES + "test_the_residual_stays_of_the_order_of_gamma_in_the_second_phase",
                PHASES + "test_singular_values_in_the_second_phase",
                PHASES + "test_the_lower_bound_in_the_second_phase_needs_the_width",
                PHASES + "test_the_weights_move_little_in_the_second_phase",
                PHASES + "test_a_step_of_the_second_phase_changes_the_residual_within_its_bound",
                PHASES + "test_the_bound_on_a_step_keeps_the_residual_below_its_level",
                PHASES + "test_small_displacements_keep_the_singular_values",
                PHASES + "test_the_lower_bound_of_the_singular_values_needs_a_smaller_displacement_than_the_upper_one",
                LEMMAS + "test_the_width_of_lemma_a25_is_enough_up_to_the_time_of_the_theorem",
                LEMMAS + "test_the_operators_eigenvalues_in_the_second_phase",
            ),
            remark="in three runs of one draw, at the cap on lambda and above it, where C_1 = 40; the lower bound of "
            "(69b) at L = 3 as in its proof, for smaller widths; (72) gives 44.5/63, and not 5/7; for L >= 3 "
            "lambda_max(P) is bounded by (9/7)^4 L, and not by 2 L, of sigma_max^2 / m, which lets eta lambda_max(P) "
            "exceed 2; the two cases of A.26 and the constant of (72) are arithmetic of print",
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
        Item(
            "Lemma B.1",
            "a global minimizer is zero off the subspace",
            tests=(
                LEMMAS + "test_projecting_the_first_layer_keeps_the_fit_and_saves_the_penalty_across_the_inputs",
                LEMMAS + "test_global_minimizers_are_zero_across_the_inputs",
                LEMMAS + "test_without_decay_a_global_minimizer_is_not_zero_across_the_inputs",
            ),
            remark="the proof's step also for the network (90); minimizers at L = 2 and 3 by L-BFGS",
        ),
        Item(
            "Lemma B.2",
            "the mean squared norm of a product of Gaussian matrices times a vector",
            tests=(
                LEMMAS + "test_the_mean_squared_norm_of_a_product_is_the_product_of_the_sizes",
                LEMMAS + "test_the_squared_norm_of_a_gaussian_product_has_the_moments_of_chi_squares",
                LEMMAS + "test_chernoffs_bound_of_a_product_is_the_printed_one_with_a_constant",
                LEMMAS + "test_a_product_is_off_by_a_tenth_with_exponentially_small_probability",
                LEMMAS + "test_the_exponent_printed_for_the_lower_tail_is_too_large",
            ),
            remark="(83) with c_1 = 2.06 and c_2 = log(1.1)^2 / 8, its probability for one and two factors, its bound "
            "for up to eight; in the proof the exponent of the lower tail must be c^2 / 8, and not c^2 / 4",
        ),
        Item(
            "Theorem B.3, Lemmas B.4, B.5",
            "inequalities for products and sums",
            tests=(
                LEMMAS + "test_the_inequality_of_weierstrass",
                LEMMAS + "test_the_inequality_of_weierstrass_needs_exponents_of_at_least_one",
                LEMMAS + "test_the_induction_of_weierstrass_needs_a_case_of_its_own_for_large_sums",
                LEMMAS + "test_the_decays_of_all_layers_together_are_at_most_their_sum",
                LEMMAS + "test_a_geometric_sum",
                LEMMAS + "test_a_geometric_sum_at_its_edges",
            ),
            remark="Lemma B.5 for 0 <= alpha <= 1/2: it is wrong below 0; the induction of Theorem B.3 has a gap where "
            "w x > 1",
        ),
    ),
    law=(
        "Weight decay makes a deep linear network for inverse problems forget what lies outside of the "
        "subspace of the signals, so that it is robust to noise."
    ),
    arxiv="2502.15522",
)
