"""Wang and Jacot 2024, Implicit Bias of SGD in L2-Regularized Linear DNNs: One-Way Jumps from High to Low Rank."""

from experiments.papers.item import Item, Paper
from experiments.papers.rank_jumps_appendix import APPENDIX

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_rank_jumps.py::"
REGION = "tests/lawlib/theory/test_rank_jumps_region.py::"
LANDSCAPE = "tests/lawlib/theory/test_rank_jumps_landscape.py::"
ENTRY = "tests/lawlib/descent/test_single_entry.py::"
LEMMAS = "tests/lawlib/theory/test_rank_jumps_lemmas.py::"
FLOW = "tests/lawlib/theory/test_rank_jumps_flow_lemmas.py::"

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
            "Section 2.2, L = 2",
            "a shallow network has 'only global minima and strict saddles'",
            tests=(
                FLOW + "test_two_layers_have_only_global_minima_and_strict_saddles_where_all_is_observed",
                FLOW + "test_two_layers_have_only_global_minima_and_strict_saddles_on_a_mask",
            ),
            remark="all critical points where all is observed, those that searches find on a 2 x 2 mask; 'convergence "
            "with probability 1' is not covered",
        ),
        Item(
            "Section 2.2, zero",
            "the zero parameters are 'always a local minimum': one of those that both searches find",
            {"jumps_theory": "T3.1.both*"},
            remark="at one eps and one lambda for L = 3 and for L = 4",
        ),
        Item(
            "Section 2.2, GD",
            "from a Gaussian start 'there is a non-zero probability to converge to any local minimum'",
            {"jumps_theory": "T3.1.both*"},
            remark="the four minima of the 2 x 2 problem, by descents from Gaussian weights of three scales",
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
            {"jumps_theory": "T3.1.factors* T3.1.matrices* T3.1.both* T3.1.value*"},
            (LANDSCAPE + "test_every_search_in_matrices_ends_at_a_known_minimum",),
        ),
        Item(
            "Propositions 3.1, A.3",
            "'For all lambda, there is a rank r* local minima'",
            {"jumps_theory": "P3.1.*"},
            remark="that its C(A) tends to 0 with lambda is not covered",
        ),
        Item(
            "Propositions 3.2, A.4",
            "with a small ridge GD keeps s_{r*} away from 0",
            {"jumps_theory": "P3.2.*"},
        ),
        Item(
            "Section 3.1, fit",
            "a rank-overestimating point 'can fit the observed entries (with a small O(lambda) error)'",
            tests=(FLOW + "test_a_minimum_of_rank_two_fits_with_an_error_of_the_order_of_the_ridge",),
            remark="the minimum of rank 2 of the 2 x 2 problem",
        ),
        Item(
            "Section 3.1, bad minima",
            "minima of rank r* that do not fit: 'we never encountered such minima'; searches find one, with A_01 < 0",
            {"jumps_theory": "T3.1.three*"},
            remark="that SGD ends there is not covered",
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
            "B_r is closed under SGD: no admissible step leaves B_1; at Figure 1's rates s_2/s_1 does not come back",
            {"jumps_annealing": "T3.2.*", "jumps_theory": "B.1.closed*"},
        ),
        Item(
            "Theorem 3.2, reached",
            "'SGD will eventually reach B_r': nearly all runs of Figure 1 jump to rank 1 by t = 20000",
            {"jumps_annealing": "F1.by20000"},
            remark="by s_2/s_1, not by the three conditions",
        ),
        Item(
            "Theorem 3.2, almost surely",
            "from any parameters P(there is a T with theta_{t+T} in B_r) = 1",
            tests=(
                LEMMAS + "test_theorem_e1_every_start_comes_to_the_balanced_set",
                LEMMAS + "test_theorem_e2_those_draws_end_in_the_region",
                LEMMAS + "test_theorem_3_2_does_not_hold_from_any_start_at_one_step_size",
            ),
            remark="false as printed, where eta comes before the start: from further out every step doubles the "
            "weights. For an eta that falls with the start, as in Theorem B.2, its two parts are tested; that trials "
            "of equal length succeed at last is not",
        ),
        Item(
            "Theorem 3.2, T",
            "T = Omega~(1 / (lambda eta)) steps, up to log terms",
            tests=(THEORY + "test_the_jump_bound_is_that_of_theorem_b2",),
            remark="the formula of Theorem B.2; no waiting time over lambda or eta is measured",
        ),
        Item(
            "Theorem 3.2, ridge",
            "the step size that its constants admit vanishes with lambda, so that nothing is said at lambda = 0",
            {"jumps_theory": "S3.2.any*"},
            remark="beyond the paper, which says 'lambda >= 0'",
        ),
        Item("Section 3.2, rates", "eta ~ lambda^(4L + 1 + (L+1)/(L-2))", {"jumps_theory": "S3.2.power*"}),
        Item(
            "Section 3.2, other rates",
            "C ~ lambda^-1, alpha ~ lambda^((L+2)/(L-2)), eps_1 ~ lambda^(2 (L+2)/(L-2) + 2L + 1), eps_2 ~ lambda^0",
            tests=(FLOW + "test_the_rates_of_section_3_2_are_those_of_theorem_b1",),
        ),
        Item(
            "Section 3.2, flow",
            "the imbalance decays exponentially",
            {"jumps_annealing": "F1.balance"},
            remark="with the rate 4 lambda in the units of the main text, where lambda is printed",
        ),
        Item(
            "Section 3.2, limitation",
            "shuffled epochs 'would force the jumps to happen within an epoch, which may not be possible': at Figure "
            "1's rates at most a tenth of the runs jump",
            {"jumps_annealing": "F1.epochs"},
        ),
        Item(
            "Section 3.2, waiting time",
            "'the average time required to observe one of our predicted jumps can easily be absurdly large'",
            {"jumps_theory": "S3.2.wait"},
            remark="the most that Theorem B.2 allows, at an eta that it admits; at Figure 1's eta, of which it says "
            "nothing, half of the runs jump within T_0 + T_1 steps (summary of jumps_theory)",
        ),
        Item("Section 3.2, stationary", "'any stationary distribution must have support inside' B_1"),
        Item(
            "Section 3.1, landscape",
            "where minima of rank 2 exist, and where GD ends",
            {"jumps_theory": "S3.1.rank* S3.1.start* S3.1.drift*"},
            (LANDSCAPE + "test_the_ends_of_rank_two_over_eps_and_over_the_ridge_agree",),
            "beyond the paper",
        ),
        Item(
            "Figure 1",
            "from the plateau of rank 2 runs jump to rank 1 at random times: none by t = 1000, about half by 5000",
            {"jumps_annealing": "F1.jump F1.by5000* F1.plateau F1.critical F1.after F1.decline"},
        ),
        Item(
            "Figure 1, time",
            "'a jump around time 2000, where the output matrix becomes rank 1'",
            remark="one draw; in the summary of jumps_annealing about a tenth of the runs have jumped by then",
        ),
        Item(
            "Figure 1, offshoots",
            "'created before this jump fail to fit the missing entry while those created after succeed'",
            {"jumps_annealing": "F1.branch.*"},
            remark="500 steps or more before or after",
        ),
        Item(
            "Figure 2",
            "'depth increases the probability of jumps': by t = 5000 at most a tenth of the L = 3 networks jump, and "
            "at least 0.55 of the L = 4 networks",
            {"jumps_depth": "F2.*"},
        ),
        Item(
            "Figure 2, all",
            "'all five depth L = 4 networks jump at different times during the first 5000 SGD steps'",
            remark="a draw of five; F2.L4 has the fraction of many",
        ),
        Item(
            "Section 4, eps and depth",
            "at L = 3 SGD jumps in a reasonable time for eps = 0.25, and 'for this smaller choice' 0.1 it does not",
            {"jumps_annealing": "F1.by5000*", "jumps_depth": "F2.L3"},
        ),
        Item(
            "Figure 3",
            "'Larger t0 allow the network to recover it for even smaller' eps",
            {"jumps_epsilon": "F3.enough* F3.short F3.long F3.grows"},
        ),
        Item(
            "Figure 3, eps = 0.05",
            "at eps = 0.05 no t0 up to 24000 recovers it",
            {"jumps_epsilon": "F3.smallest*"},
            remark="beyond the paper",
        ),
        Item(
            "Figure 3, t0 = 0",
            "'Without a noise phase (t0 = 0) the network fails to recover the rank 1 solution': eps = 0.1 to 0.7",
            {"jumps_epsilon": "F3.cold*"},
        ),
        Item(
            "Section 4, eps = 1",
            "without a noise phase it 'fails to recover the rank 1 solution even for eps = 1', after 4000 steps",
            {"jumps_epsilon": "F3.even"},
        ),
        Item(
            "Figure 3, more steps",
            "at eps = 1 without noise GD recovers rank 1 after more steps: no minimum of rank 2 is in its way",
            {"jumps_theory": "F3.budget F3.minimum"},
            remark="beyond the paper",
        ),
        Item(
            "Section 4, GD",
            "for small eps 'GD almost always converges to a rank-overestimating minimum': to the exact one of rank 2",
            {"jumps_theory": "S3.1.rank2*"},
            remark="full batch, lambda = 0.1, from three starts at each eps below the end of that minimum",
        ),
        Item(
            "Figure 4",
            "'the jumps all happen during the large lambda, eta periods'",
            {"jumps_periodic": "F4.period F4.jump"},
        ),
        Item(
            "Figure 4, settled",
            "'After the jump, SGD will settle at a low test error in the slow periods'",
            {"jumps_periodic": "F4.error*"},
        ),
        Item(
            "Figure 4, later",
            "after it has settled 'SGD can still jump to another minimum in a subsequent large lambda, eta period'",
            {"jumps_periodic": "F4.later"},
            remark="of the runs that have not jumped in the first period; that they have settled is not checked",
        ),
        Item(
            "Section 4, warm-up",
            "'SGD diverges if we start with a too large learning rate directly at initialization'",
            tests=(ENTRY + "test_large_steps_diverge_from_the_start_and_after_a_warm_up_they_do_not",),
        ),
        Item(
            "Section 4, train error",
            "'large lambda, eta prevent SGD from minimizing the train error'",
            {"jumps_annealing": "S4.train"},
        ),
        Item("Section 4, minima", "'there are three local minima'", {"jumps_theory": "S4.three* T3.1.three*"}),
        Item(
            "Section 4, rank 1",
            "at the small lambda rank 2 has the lower regularized loss: the recovered minimum is not the global one",
            {"jumps_theory": "S4.global*"},
            remark="beyond the paper",
        ),
        *APPENDIX,
    ),
    law=(
        "SGD with weight decay on a deep linear network jumps from higher to lower rank at random times, and "
        "never back."
    ),
    arxiv="2305.16038",
)
