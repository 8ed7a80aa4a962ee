"""Eftekhari 2020, Training Linear Neural Networks: Non-Local Convergence and Complexity Results."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_induced_flow.py::"
BOUNDS = "tests/lawlib/theory/test_induced_flow_bounds.py::"
LEMMAS = "tests/lawlib/theory/test_induced_flow_lemmas.py::"
RATES = "tests/lawlib/theory/test_induced_flow_rate_lemmas.py::"

PAPER = Paper(
    "Eftekhari 2020",
    "Training Linear Neural Networks: Non-Local Convergence and Complexity Results",
    (
        Item(
            "Eqs. (10), (41)",
            "the products of the layers are all matrices of rank at most r, the smallest width",
            tests=(
                LEMMAS + "test_the_products_of_layers_are_the_matrices_of_rank_at_most_the_smallest_width",
                LEMMAS + "test_the_three_problems_have_one_minimum",
            ),
        ),
        Item(
            "Lemmas 4 to 6",
            "stationary points of the network are stationary points of PCA",
            tests=(
                LEMMAS + "test_layers_make_every_change_of_the_two_factors",
                LEMMAS + "test_stationary_networks_of_full_rank_are_stationary_points_of_pca",
                LEMMAS + "test_lemma_4_needs_the_rank",
                LEMMAS + "test_lemma_5_at_any_point_and_any_rank_of_the_inputs",
            ),
            remark="Lemma 5 needs no rank of X; eqs. (60) and (80) lack a factor 1/2",
        ),
        Item(
            "Theorem 7",
            "every second-order point of PCA is global",
            tests=(
                LEMMAS + "test_the_least_curvature_of_a_balanced_stationary_point_is_the_gap_of_its_values",
                LEMMAS + "test_theorem_7_at_every_kind_of_stationary_point",
                LEMMAS + "test_theorem_7_at_stationary_points_found_from_random_starts",
            ),
        ),
        Item(
            "Theorem 8",
            "every second-order point of full rank r is global",
            {"induced_flow_landscape": "T8.gradient T8.count T8.saddles T8.minima"},
        ),
        Item(
            "After Theorem 8",
            "'the zero matrix is an spurious SOSP' when N >= 2",
            {"induced_flow_landscape": "T8.zero*"},
        ),
        Item(
            "Lemma 9",
            "gradient flow converges, almost surely to a second-order point",
            tests=(
                LEMMAS + "test_gradient_flow_ends_at_a_second_order_point",
                LEMMAS + "test_gradient_flow_from_a_null_set_ends_at_a_strict_saddle",
            ),
            remark="at six random starts, and from one null set to a strict saddle; not that all such sets are null",
        ),
        Item(
            "Eqs. (15), (17)",
            "balanced factors stay balanced and follow the induced flow",
            {"induced_flow_landscape": "flow.induced flow.imbalance"},
            (THEORY + "test_balanced_factors_induce_the_flow_and_keep_imbalance_and_rank",),
        ),
        Item(
            "Eqs. (16), (173), Lemma 24",
            "the operator A_W: definition, SVD form and closed form of rank one",
            {"induced_flow_landscape": "A_W"},
            (THEORY + "test_the_forms_of_the_operator_agree_at_every_rank",),
        ),
        Item("Lemma 11", "the induced flow keeps its rank", {"induced_flow_landscape": "flow.rank"}),
        Item(
            "Eq. (106)",
            "the rates of the singular values: -N s^(2-2/N) times the gradient along their vectors",
            tests=(THEORY + "test_every_form_of_the_rank_one_flow_is_that_of_the_operator",),
            remark="at rank one",
        ),
        Item(
            "Lemma 12",
            "the set of full rank is not closed, and its complement has measure zero",
            tests=(
                LEMMAS + "test_the_layers_of_full_rank_are_not_closed",
                LEMMAS + "test_a_change_of_layers_without_full_rank_gives_it",
            ),
            remark="measure zero: a line in a random direction meets it in at most N r points, zeros of one minor",
        ),
        Item(
            "After eq. (28)",
            "the set N_alpha 'has infinite Lebesgue measure'",
            tests=(RATES + "test_n_alpha_has_balls_as_large_as_wanted",),
            remark="a ball in it and all its multiples by c >= 1; its balanced layers are a null set themselves, so "
            "that Theorem 16, 'outside of a subset with Lebesgue measure zero', speaks of none of them as printed",
        ),
        Item("Lemma 15", "from N_alpha the limit is not 0", {"induced_flow_landscape": "T16.away T16.set"}),
        Item(
            "Theorem 16",
            "gradient flow reaches a global minimum from every balanced start in N_alpha",
            {"induced_flow_landscape": "T16.arrives"},
        ),
        Item(
            "After Theorem 16, necessity",
            "'Such a restriction is indeed necessary': starts exactly against Z go to 0; mildly negative ones converge",
            {"induced_flow_landscape": "T16.opposite T16.negative"},
            remark="that N_alpha is more than is needed is beyond the paper",
        ),
        Item(
            "After Theorem 16, unbalanced",
            "from an unbalanced start the flow 'deviates rapidly from its balanced counterpart'",
            {"induced_flow_landscape": "flow.unbalanced"},
            remark="that it deviates, not how rapidly",
        ),
        Item(
            "After Theorem 16, depth",
            "'any disadvantages of an unbalanced initialization' may 'disappear asymptotically as the network depth N "
            "grows larger'",
            tests=(
                RATES
                + "test_a_skew_of_two_layers_is_less_for_the_value_in_deeper_networks_and_the_same_for_the_direction",
                RATES + "test_at_every_depth_a_large_first_layer_turns_late",
            ),
            remark="so for the singular value, whose rate two skewed layers change by a part of order 1/N; not for the "
            "directions: with c W_1 and W_2 / c the vector v turns c^2 times slower at every depth",
        ),
        Item(
            "Section 4, saddles",
            "'In the worst case, gradient flow would require exponential time to escape each saddle point'",
            tests=(
                RATES + "test_the_time_to_leave_a_strict_saddle_is_the_logarithm_of_the_distance",
                RATES + "test_the_time_to_leave_zero_is_exponential_in_the_depth",
                RATES + "test_the_time_to_leave_zero_is_a_logarithm_in_two_layers",
            ),
            remark="exponential in the depth at 0, no strict saddle for N >= 3; at a strict saddle the logarithm of "
            "the distance of the start, which has no bound; not a path past many saddles",
        ),
        Item("Lemma 17", "the induced flow then reaches Z_1", {"induced_flow_landscape": "T16.arrives"}),
        Item(
            "Eq. (33)",
            "L_{1,1} <= T_1 + s_Z T_2",
            {"induced_flow_landscape": "E33"},
            (BOUNDS + "test_33_and_lemma_18_at_any_state",),
        ),
        Item(
            "After eq. (33)",
            "'Both T_{1,t}, T_{2,t} are nonnegative for all t >= 0'",
            tests=(RATES + "test_both_terms_of_33_are_nonnegative",),
        ),
        Item(
            "Lemma 18, eq. (35)",
            "the loss falls at least at this rate",
            {"induced_flow_landscape": "L18"},
            (BOUNDS + "test_lemma_18_is_an_equality_where_its_proof_loses_nothing",),
        ),
        Item(
            "After Lemma 18, depth",
            "T_1 is 'expected to reduce much faster with time for deeper linear networks'",
            tests=(
                RATES + "test_the_error_of_an_aligned_value_falls_faster_in_deeper_networks_unless_it_is_small",
                RATES + "test_far_from_the_target_the_error_of_the_value_falls_faster_in_deeper_networks",
                RATES + "test_near_the_target_the_error_of_the_value_falls_at_one_rate_at_every_depth",
            ),
            remark="so far from Z_1, and where s > exp(-N/2), in absolute units; near Z_1 T_1 follows T_2, at the rate "
            "4 m s_Z^(2-2/N) without a factor N (for N > 2, at gamma_Z = 0)",
        ),
        Item(
            "Lemma 19",
            "the flow stays in N_{alpha,beta}",
            {"induced_flow": "L19.*", "induced_flow_landscape": "L19.*"},
            (BOUNDS + "test_the_flow_points_into_the_stable_set_on_its_border",),
        ),
        Item(
            "Theorem 20",
            "two exponential bounds on the distance, before and after tau",
            {"induced_flow": "T20.single T20.several"},
            (BOUNDS + "test_the_distance_bound_changes_its_exponent_at_tau",),
            "with the exponent s_Z^(2 - 2/N) that the proof gives",
        ),
        Item("Eq. (38)", "the same as printed, with s_Z^(-2/N)", {"induced_flow": "T20.printed"}),
        Item(
            "After Theorem 20",
            "gamma_Z must be of order 1/N for the second exponent to be negative",
            tests=(BOUNDS + "test_the_largest_gap_is_where_the_slow_exponent_vanishes",),
        ),
        Item(
            "After Theorem 20, far",
            "'The faraway convergence rate improves with network depth N'",
            {"induced_flow": "F1.far"},
        ),
        Item(
            "After Theorem 20, near",
            "'the nearby convergence rate does not appear to benefit from increasing N': slower for s_Z < 1, faster "
            "for s_Z > 1, alike at 1",
            {"induced_flow": "F1.slower F1.faster F1.equal"},
        ),
        Item(
            "After Theorem 20, scale",
            "'the scale-dependence of the convergence rate': nearby it is m s_Z^(2-2/N) (1 - gamma_Z)",
            {"induced_flow": "F1.rate F1.rate_several"},
        ),
        Item(
            "Eqs. (202), (205)",
            "the loss falls at these rates in the fast and in the slow regime",
            tests=(
                RATES + "test_the_loss_falls_at_the_rates_of_both_regimes",
                RATES + "test_near_the_target_the_rates_of_the_regimes_are_off_by_a_known_factor",
            ),
            remark="where the exponents are nonnegative: the last step of the proofs uses it",
        ),
        Item(
            "Lemma 21",
            "second-order points of PCA have rank r",
            tests=(
                LEMMAS + "test_theorem_7_at_every_kind_of_stationary_point",
                LEMMAS + "test_lemma_21_falls_along_the_pair_that_is_absent",
                LEMMAS + "test_a_matrix_of_lower_rank_has_second_order_points_of_lower_rank",
                LEMMAS + "test_the_reduction_in_the_proof_of_lemma_21_changes_the_loss",
            ),
            remark="if Y P_X has rank r or more; the projection before eq. (89) of its proof can change the loss",
        ),
        Item(
            "Lemmas 22, 23",
            "N_alpha is invariant: u^T Z_1 v does not fall",
            {"induced_flow_landscape": "T16.set T16.rise"},
        ),
        Item(
            "Eq. (207)",
            "above sqrt 6 s_Z convergence is fast",
            {"induced_flow": "T20.fast"},
            (BOUNDS + "test_the_fast_regime_is_certain_from_where_the_proof_says",),
        ),
        Item(
            "Figure 1",
            "distance over time for N = 2, 3, 4, 5, 10: Euler's error, and what the curves depend on",
            {"induced_flow": "F1.euler F1.collapse"},
        ),
        Item(
            "Figure 1, slow-down",
            "'the (gradual) slow-down in the convergence rate of gradient flow with time'",
            {"induced_flow": "F1.slows"},
        ),
        Item("Figure 1, far", "'the faster faraway convergence rate for deeper networks'", {"induced_flow": "F1.far"}),
        Item(
            "Figure 1, near",
            "the nearby rate 'might actually be slower for deeper networks', an open question",
            {"induced_flow": "F1.rate* F1.slower F1.faster F1.equal"},
            (BOUNDS + "test_the_nearby_rate_is_the_slowest_of_the_linearized_flow",),
        ),
    ),
    law=(
        "Gradient flow on a linear network with a single hidden neuron is a flow of the end-to-end matrix, in "
        "which the depth is an exponent."
    ),
    arxiv="2002.09852",
)
