"""Yaras et al. 2023, The Law of Parsimony in Gradient Descent for Learning Deep Linear Networks."""

from experiments.papers.item import Item, Paper
from experiments.papers.parsimony_appendix import APPENDIX

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_parsimony.py::"
DECAY = "tests/lawlib/theory/test_parsimony_decay.py::"
COLLAPSE = "tests/lawlib/theory/test_collapse.py::"
SENTENCES = "tests/lawlib/theory/test_parsimony_lemmas.py::"
REDUCTION = "tests/lawlib/compress/test_deep_linear.py::"
FIRST_CASE = "T1.*[case1*]"

PAPER = Paper(
    "Yaras et al. 2023",
    "The Law of Parsimony in Gradient Descent for Learning Deep Linear Networks",
    (
        Item(
            "Eq. (4)",
            "a step of gradient descent with weight decay, written out",
            tests=("tests/lawlib/descent/test_steps.py::test_gradient_descent_is_equation_4",),
            remark="an index is misprinted",
        ),
        Item(
            "Theorem 1, Case 1",
            "a target of rank r: outside of 2r fixed directions every layer is rho(t) times an isometry, eqs. (5), (6)",
            {"dln_parsimony": FIRST_CASE},
            (THEORY + "test_gradient_descent_moves_only_the_active_blocks",),
        ),
        Item(
            "Theorem 1, the frames",
            "V_{l+1} = U_l, and every layer is eps times an isometry in them at the start",
            tests=(THEORY + "test_frames_are_orthogonal_carried_by_the_layers_and_contain_the_target",),
        ),
        Item(
            "Theorem 1, Case 2",
            "r outputs: the same in the layers l < L, with rho(t) = eps (1 - eta lambda)^t, eq. (7)",
            {"dln_parsimony": "T1.*[case2*] T1.*[digits*]", "dln_fashion_mnist": "T1.*"},
            (THEORY + "test_rho_of_case_2_without_momentum_is_geometric",),
        ),
        Item(
            "Section 3, widths",
            "'Assumption 1 can be potentially relaxed to d_{L-1} >= ... >= d_1'",
            {"dln_widths": "W.*"},
            (
                "tests/lawlib/theory/test_parsimony_widths.py::test_so_many_singular_values_follow_each_recursion",
                "tests/lawlib/compress/test_deep_linear_defect.py::test_layers_of_any_widths_have_an_equivalent",
            ),
            "for any widths; where they change, more than 2r directions move",
        ),
        Item(
            "Section 3, conditioning",
            "'approximately hold for any well-conditioned X': the condition number swept",
            {"dln_condition": "K.*"},
            remark="no number in print; near kappa = 1 blocks move off like log kappa, sigma_{2r+1} like its square",
        ),
        Item(
            "Section 3, eq. (8)",
            "rho(t) 'undergoes minimal changes across iterations when eps is small': at eps = 1e-3 rho(t)^L stays "
            "eps^L to three digits",
            {"dln_factorization": "F1.distance"},
            remark="Case 1, L = 3, by the distance of the compressed network; in print by Figure 3, where eps = 1",
        ),
        Item(
            "Eq. (6), long times",
            "without weight decay rho falls to 0 too, like t^(-1/(2L-2))",
            {"dln_decay": "WD.power*"},
            (THEORY + "test_without_weight_decay_rho_falls_like_a_power_of_time",),
            "beyond the paper",
        ),
        Item(
            "Section 3, small eps",
            "'lim_{eps -> 0} rho(t) = 0 for all t >= 0'",
            tests=(
                SENTENCES + "test_rho_falls_with_eps_at_every_time",
                SENTENCES + "test_rho_stays_below_eps_up_to_a_step_size_and_grows_beyond_it",
                SENTENCES + "test_rho_falls_with_eps_at_each_time_even_where_it_grows",
                SENTENCES + "test_most_singular_values_of_trained_layers_are_rho_and_fall_with_eps",
                SENTENCES + "test_at_a_fixed_time_the_values_that_learn_fall_with_eps_too",
                SENTENCES + "test_when_the_target_is_fitted_rho_is_still_below_eps",
            ),
            remark="at a fixed t all values tend to 0, so that the limit alone gives no low rank; |rho(t)| <= eps for "
            "all t, which holds for eta (lambda + eps^(2L-2)) <= 2, does",
        ),
        Item(
            "Section 3, rank 2r",
            "solutions 'with a rank of at most 2r': each layer but for its part rho(t) times an isometry",
            {"dln_parsimony": "T1.excess[case1*] T1.count[case1*]"},
            remark="at eps = 1, where that part is not small",
        ),
        Item(
            "Section 3, weight decay",
            "with weight decay rho(t) 'tends to zero asymptotically as t goes to infinity'",
            {"dln_decay": "WD.idle* WD.rate* WD.form*"},
            (THEORY + "test_with_weight_decay_the_rate_of_rho_tends_to_that_of_case_2",),
            "without weight decay rho falls to 0 too in Case 1",
        ),
        Item(
            "Section 3, low-rank bias",
            "'gradient descent with weight decay is biased towards finding low-rank solutions': which values are lost",
            {"dln_decay": "WD.values* WD.collapse* WD.jump* WD.independent*"},
            (DECAY + "test_a_start_is_kept_up_to_its_threshold_and_lost_beyond",),
            "beyond a decay that the paper does not name the solution is 0",
        ),
        Item(
            "Section 3, optimizers",
            "'can be generalized to' Adam, AdaGrad, RMSprop",
            {"dln_optimizers": "OPT.*", "dln_muon": "OPT.*"},
            (
                "tests/experiments/laws/parsimony/optimizers/test_system.py::test_each_method_is_of_the_kind_that_its_defect_says",
            ),
            "not to them: to every optimizer that commutes with rotations, such as Muon, Nesterov, Shampoo",
        ),
        Item(
            "Figure 1, left",
            "the compressed network 'closely follows the trajectory of the original network', in as many steps",
            {"dln_factorization": "F1.steps F1.distance F1.control"},
            (REDUCTION + "test_the_small_network_unfolds_to_the_trained_weights",),
            "the paper's d = 1000 is the profile paper",
        ),
        Item(
            "Eq. (10)",
            "W_{L:1} is the compressed network's matrix up to rho^L(t) U_{L,2} V_{1,2}^T",
            {"dln_factorization": "F1.rho F1.control"},
            remark="at L = 3",
        ),
        Item(
            "Eq. (10), depth",
            "the size of that term 'decreases with larger depth L'",
            tests=(
                SENTENCES + "test_the_term_that_the_compressed_network_leaves_out_has_the_size_of_rho",
                SENTENCES + "test_the_term_shrinks_with_depth_in_early_training",
                SENTENCES + "test_one_layer_more_makes_the_term_smaller_up_to_the_horizon",
                SENTENCES + "test_the_horizon_of_two_layers_is_right_but_for_a_factor",
                SENTENCES + "test_after_long_training_the_term_of_three_layers_is_larger_than_that_of_two",
                SENTENCES + "test_in_the_end_weight_decay_decides_the_order_of_depths",
                SENTENCES + "test_at_eps_of_one_the_term_shrinks_with_depth_for_a_while_and_then_grows",
            ),
            remark="for eps < 1 and eta t up to (eps^(-p/L) - 1) / (p eps^p), p = 2 (L - 1); without weight decay it "
            "grows with L in the end: at eps = 0.5 it is larger for L = 3 than for L = 2 from about eta t = 6 on",
        ),
        Item(
            "Section 4.1, parameters",
            "4 L (r^)^2 parameters against L d^2; for completion 4 r^ d more, 'optimizing only O(d) parameters'",
            tests=(
                SENTENCES + "test_the_compressed_network_has_4_l_r_squared_parameters",
                SENTENCES + "test_with_r_outputs_the_last_layer_is_smaller",
                SENTENCES + "test_completion_trains_4_r_d_parameters_more_which_grow_like_the_width",
                SENTENCES + "test_completion_trains_fewer_parameters_from_a_width_on",
            ),
            remark="counts of the layers' shapes; completion has fewer than L d^2 for d > 2 r^ (1 + sqrt(1 + L^2)) / L",
        ),
        Item(
            "Figure 1, right",
            "training loss over wall time: the optimum 'an entire order of magnitude earlier'",
            remark="measured without a claim: benchmarks/results/wall_clock",
        ),
        Item(
            "Figure 2",
            "each layer improves the separation 'by an equal multiplicative factor': log D_l on a line, ReLU too",
            {"collapse_depth": "F2.line F7.line*"},
        ),
        Item("Figure 3", "singular values and vectors of the first layer, L = 3", {"dln_parsimony": FIRST_CASE}),
        Item(
            "Figure 4, left",
            "L = 3 recovers the matrix at every width, L = 2 overfits from width 20 on",
            {"completion_depth_width": "F4.recovery F4.overfitting"},
        ),
        Item(
            "Figure 4, right",
            "a wider 3-layer network needs fewer iterations: width 100 against width 10",
            {"completion_depth_width": "F4.width"},
        ),
        Item(
            "Figure 5, left",
            "the compressed network needs fewer iterations than a narrow one, 'almost unaffected by r^'",
            {"completion_compressed": "F5.*"},
        ),
        Item(
            "Figure 5, right",
            "compressed networks are 'considerably more time-efficient' than narrow ones of their size",
            remark="drawn over counted operations, without a claim; over wall time in benchmarks/results/wall_time",
        ),
        Item(
            "Section 4.1, samples",
            "'the same sampling complexity as the original network'",
            {"completion_sampling": "S4.1.samples* S4.1.enough S4.1.too_few"},
            remark="stated in the introduction, without an experiment",
        ),
        Item(
            "Section 4.1, depth",
            "'deeper networks improve sample complexity over their shallow counterparts', of Arora et al. 2019",
            {"completion_sampling": "S4.1.depth"},
        ),
        Item(
            "Figure 6",
            "gamma = 0 leaves a high recovery error, gamma = 0.01 a small one",
            {"completion_gamma": "F6.ratio F6.recovery"},
        ),
        Item(
            "Figure 6, gamma = 1",
            "with gamma = 1 the compressed network diverges",
            {"completion_gamma": "F6.divergence"},
            remark="beyond the paper",
        ),
        Item(
            "Figure 6, right",
            "the compressed network converges 'significantly faster in terms of time'",
            remark="without a claim; benchmarks/results/wall_time has the time of a step, the summary the steps",
        ),
        Item(
            "Section 4.1, Figure 6",
            "with gamma = 0.01 the trajectory 'closely mirrors that of the original network', with gamma = 0 it "
            "deviates 'during the later stages of training'",
            {"completion_gamma": "F6.mirrors F6.deviates"},
            remark="the first in the mean over the path, the second at its end; the summary has the largest distance",
        ),
        Item(
            "Section 4.1, outer factors",
            "V_{1,1} and U_{L,1} 'are changing much more slowly compared to the compressed weights'",
            {"completion_gamma": "S4.1.outer*"},
            remark="by the norms of the gradients: so at the start, the other way round at the end",
        ),
        Item(
            "Section 4.1, footnote 3",
            "a rank r^ above r may take the place of r",
            tests=(
                "tests/lawlib/compress/test_deep_linear_defect.py"
                "::test_a_rank_above_the_targets_gives_an_exact_equivalent",
            ),
        ),
        Item(
            "Section 4.2, eq. (13)",
            "the separation D_l of the features; at the input (n - 1) K / (K - 1)",
            {
                "collapse_depth": "F2.start",
                "collapse_scale": "F11.start",
                "collapse_init": "F12.start",
                "collapse_theorem": "T2.start",
            },
            (COLLAPSE + "test_the_separation_is_the_quotient_of_the_covariances_traces",),
            "'between' and 'within' are swapped at eq. (14)",
        ),
        Item(
            "Theorem 2",
            "D_{l+1} / D_l <= 2 (sqrt K + 1) eps^2 at a balanced global optimum with an unchanged spectrum",
            {"collapse_theorem": "T2.*"},
            (COLLAPSE + "test_theorem_2_holds_for_a_trained_network",),
            "sqrt(30L) must be sqrt(30) L",
        ),
        Item(
            "Corollary 1",
            "the same bound after gradient flow from eps-orthogonal layers and W_L(0) = eps [U_L 0]",
            {"collapse_theorem": "T2.*"},
            (COLLAPSE + "test_an_orthogonal_start_is_balanced_but_for_its_last_layer",),
            "run by the flow, and by gradient descent",
        ),
        Item(
            "Figure 7",
            "linear decay 'persists across networks of different depths and even in nonlinear networks': L = 6, 8, 10",
            {"collapse_depth": "F2.line F7.line*"},
        ),
        Item(
            "Figure 7, rates",
            "the rate of linear networks is eps^2 / n^(1/L); bounds on those of ReLU networks",
            {"collapse_depth": "F2.rate F7.rate* F7.ratio*"},
            remark="beyond the paper",
        ),
        Item(
            "Section 4.2, Figure 7",
            "the decay rate 'is independent of the depth L'",
            {"collapse_depth": "F2.depth*"},
            remark="linear networks",
        ),
        Item(
            "Section 4.2, last layer",
            "'deeper networks yield greater feature separation at the penultimate layer'",
            {"collapse_depth": "F2.deeper F7.deeper"},
        ),
        Item("Figure 8", "Figure 3 for all layers", {"dln_parsimony": FIRST_CASE}),
        Item(
            "Figure 9, eq. (16)",
            "the law with momentum",
            {"dln_momentum": "T1.*"},
            (THEORY + "test_rho_of_case_2_with_momentum_is_the_solution_by_roots",),
        ),
        *APPENDIX,
    ),
    law=(
        "From an orthogonal initialization, gradient descent on a deep linear network moves each layer in a "
        "subspace of dimension 2r that is known at initialization; all other singular values equal a scalar rho(t)."
    ),
    arxiv="2306.01154",
)
