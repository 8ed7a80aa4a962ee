"""Xu et al. 2026, Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_smooth_mlp.py::"
LEMMAS = "tests/lawlib/theory/test_smooth_mlp_lemmas.py::"
START = "tests/lawlib/theory/test_smooth_mlp_start_lemmas.py::"
SUBSPACES = "tests/lawlib/linalg/test_subspaces.py::"
SPECTRA = {"mlp_spectra": "F8.*"}
VALUES = {"mlp_spectra": "F1.smooth F1.kinked"}

PAPER = Paper(
    "Xu et al. 2026",
    "Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations",
    (
        Item(
            "Figure 1",
            "singular values of the first layer, ELU, GELU, SiLU: the middle ones of all layers stay near their start",
            VALUES,
        ),
        Item("Figure 2", "the middle subspace 'evolves noticeably slower' with ELU than with ReLU", SPECTRA),
        Item(
            "Figure 2, values",
            "'the corresponding singular values remain closer to their initialization' with ELU than with ReLU",
            VALUES,
        ),
        Item("Definition 3.1", "principal angles and ||sin Theta||", tests=(SUBSPACES + "test_angles_are_scipys",)),
        Item(
            "Assumption 3.4",
            "the leading singular values fall like the gradient's norm (G_2), the tail stays small (G_3)",
            {"mlp_gradient_decay": "F12.values F13*"},
            remark="M and G_3 are in the summaries of mlp_theorem, mlp_gradient_decay and mlp_epsilon",
        ),
        Item(
            "Assumption 3.4, G_1",
            "||G_1(t)||_F is at most G_1 (1 - Theta(eta))^Theta(t) ||G_1(0)||_F: it falls at first, and comes to rest",
            {"mlp_gradient_decay": "F12.rate"},
            remark="within 250 steps constants that fit can be found; none of them would go on to fit",
        ),
        Item(
            "Theorem 3.5",
            "outside of S_big a step changes W_1 by at most eta rho(t), in terms of A(t) and sigma_{K+1}",
            {"mlp_theorem": "D11.first* D11.start D11.tight* D11.ends*"},
            (THEORY + "test_theorem_d11_holds_at_every_step",),
        ),
        Item(
            "Section 3.2, alignment",
            "early the gradient's singular subspaces are 'well-aligned' with those of the start; 'as training "
            "progresses' they become less so, while 'the top-K gradient singular values simultaneously decay'",
            {"mlp_theorem": "A.*"},
        ),
        Item(
            "Section 3.2, eps",
            "in the first step the perturbation grows by at most O(eps): its exponent in eps",
            {"mlp_epsilon": "E.*"},
        ),
        Item(
            "Section 3.2, stable rank",
            "a larger eps leads to larger growth in a step, 'potentially increasing the stable rank of W_1(t)'",
            tests=(
                START + "test_a_larger_eps_gives_a_larger_first_change_of_the_perturbation",
                START + "test_a_larger_eps_gives_a_larger_stable_rank_after_a_step_by_the_start_alone",
                START + "test_the_first_change_of_the_perturbation_may_lower_the_stable_rank_and_its_norm",
                START + "test_with_relu_the_first_change_of_the_perturbation_raises_the_stable_rank",
            ),
            remark="the first step, at d = 16; with a smooth activation the change of the perturbation moves the "
            "stable rank by less than 0.5%, up or down: it rises with eps since W_1(0) has the stable rank d",
        ),
        Item("Figure 3", "block 1 'accounts for almost all of the change' of W_1", {"mlp_theorem": "F3.*"}),
        Item(
            "Section 3.3, eqs. (5) to (8)",
            "S_small and the bases of deeper layers",
            tests=(
                THEORY + "test_s_small_is_the_intersection_and_s_big_its_complement",
                THEORY + "test_bases_are_carried_by_the_products_of_the_layers",
            ),
        ),
        Item(
            "Figure 4",
            "four layers: block 1 'accounts for almost all of the change' in every layer, 0.97 of it and more",
            {"mlp_deep": "F4.*"},
        ),
        Item(
            "Figure 5",
            "SGD and Adam on unwhitened data with cross-entropy: 'approximately maintains' it, with our least shares",
            {"mlp_optimizers": "F5.mean* F5.worst*"},
        ),
        Item(
            "Section 4.2, order",
            "'albeit less so when trained with Adam and Muon': in layer 1 the share falls from SGD to Adam to Muon",
            {"mlp_optimizers": "F5.order*"},
        ),
        Item(
            "Figure 5, equal loss",
            "the same question at equal loss, with Shampoo and sign descent: whether symmetry decides",
            {"mlp_symmetry": "S.*"},
            remark="not in the paper; it does not: Shampoo has less in block 1 than Adam",
        ),
        Item("Section 4.2", "block 1 has 'a majority of the change'", {"mlp_optimizers": "F5.majority*"}),
        Item(
            "Figure 6",
            "a low-rank MLP in S_big ends at most 3 points of test accuracy below the full one",
            {"fashion_mnist_low_rank": "F6.s_big F6.uniform.s_big"},
            remark="all images and GELU at 14 x 14 pixels alone; F6.uniform: last layer as PyTorch's Linear",
        ),
        Item(
            "Figure 6, trajectories",
            "'nearly-identical test loss and accuracy trajectories'",
            {"fashion_mnist_low_rank": "F6.alike*"},
            remark="the verdict needs all images of 28 x 28 pixels",
        ),
        Item(
            "Figure 6, random",
            "in a random subspace it 'gets stuck at a noticeably worse local minimum'",
            {"fashion_mnist_low_rank": "F6.random F6.plateau F6.uniform.random F6.uniform.leaves"},
        ),
        Item(
            "Section 5.1.2, size",
            "a smaller pooling 'reduced the full model size from about 138M parameters to about 50M'",
            tests=(
                START + "test_vgg16_has_138_million_parameters_and_50_million_with_the_smaller_pooling_and_10_classes",
                START + "test_the_pooling_alone_leaves_54_million_and_the_rest_is_the_fewer_classes",
            ),
            remark="counts of the layers' shapes: 138.3M is for 1000 classes and 50.4M for 10; by the pooling alone "
            "138.3M become 54.5M, and 134.3M become 50.4M",
        ),
        Item(
            "Figure 7, classifier",
            "a low-rank head of VGG-16 in S_big learns early on, where a random one has hardly begun",
            {"vgg16_cifar10": "F7.batch_s* F7.all_s*"},
        ),
        Item(
            "Figure 7, random",
            "a random one 'did not escape the random guessing stage'",
            {"vgg16_cifar10": "F7.random* F7.imagenet_random"},
            remark="early on; with weights tuned for edges it escapes later, by the summary",
        ),
        Item(
            "Figure 7, full training",
            "the same with all layers trained",
            {"vgg16_cifar10": "F7.whole* F7.learns* F7.contrast*"},
            remark="run on 480 images of 32 x 32 alone, 240 steps: a check of the code, not of the figure",
        ),
        Item(
            "Section 5.1.2, gap",
            "classifier alone: 'about 5% - 10%' in test accuracy between S_big and full at r = 2K",
            remark="of ImageNet weights, which are not run",
        ),
        Item(
            "Section 5.1.2, bounds on the gap",
            "S_big of one batch ends at most 15 points below the full head, S_big of all images at most 10",
            {"vgg16_cifar10": "F7.batch F7.all F7.imagenet"},
            remark="our bounds, with weights tuned for edges; the printed range is not judged",
        ),
        Item(
            "Section 5.1.2, epochs",
            "the low-rank head takes 'noticeably more epochs' to '(nearly) match' the full one",
            {"vgg16_cifar10": "F7.epochs"},
            remark="to 90% of its accuracy, with weights tuned for edges and the head alone trained; one batch does "
            "not get to 97%",
        ),
        Item(
            "Section 5.1.2, cause of the epochs",
            "'because we initialized ... via a minibatch of data': S_big of all images takes fewer epochs",
            {"vgg16_cifar10": "F7.epochs_cause"},
            remark="with weights tuned for edges",
        ),
        Item(
            "Section 5.1.2, cause",
            "S_big of all images ends at least 2 points above S_big of one batch",
            {"vgg16_cifar10": "F7.conjecture*"},
            remark="beyond print, which conjectures of the epochs that one batch is the cause",
        ),
        Item("Figure 8", "the middle subspace of the first layer, six activations", SPECTRA),
        Item("Figure 9", "of the second layer", SPECTRA),
        Item("Figure 10", "of the third layer", SPECTRA),
        Item(
            "Propositions B.1, E.1",
            "a lower bound on sigma_{d-K}(G_1(0)) for ReLU that does not fall with eps",
            {"mlp_gradient_tail": "B1*"},
            (THEORY + "test_proposition_b1_is_not_violated_and_says_something_of_wide_layers",),
        ),
        Item(
            "Appendix B, widths",
            "'if m >= Omega(d log d), this lower bound is non-vacuous': positive at d = 32, m = 8192",
            {"mlp_gradient_tail": "B1.positive"},
            remark="at no other width",
        ),
        Item(
            "Appendix B, norms",
            "for entries of variance 1 rows and columns of W_2^T Y have squared norms near d and m, and D is near m I",
            tests=(
                START + "test_columns_have_squared_norms_near_m_and_d_is_near_a_multiple_of_the_identity",
                START + "test_rows_have_squared_norms_of_mean_d_that_spread_like_the_root_of_the_number_of_classes",
                START + "test_the_largest_row_is_near_d_for_signs_and_many_classes_and_not_for_few",
                START + "test_with_signs_the_bound_of_proposition_b1_is_that_of_the_printed_norms",
                START + "test_with_normal_entries_the_bound_of_proposition_b1_is_empty_where_print_has_one",
            ),
            remark="of rows in the mean alone: they spread by d sqrt((kurtosis - 1) / K) at any m, and the largest, "
            "R', is about 6 d, not d, for normal entries at K = 4, m = 8192",
        ),
        Item(
            "Figure 11",
            "the d - K bottom singular values 'scale linearly with eps' for GELU and are 'independent of eps' for "
            "ReLU, as are the top K",
            {"mlp_gradient_tail": "F11.tail* F11.leading*"},
        ),
        Item(
            "Figure 11, sizes",
            "ReLU's bottom d - K are 'on a similar order as the top-K'",
            {"mlp_gradient_tail": "F11.order*"},
            remark="the largest of the bottom values over sigma_K is in the summary",
        ),
        Item(
            "Figure 12",
            "the gradient norm 'monotonically decays'",
            {"mlp_gradient_decay": "F12.early* F12.late* F12.monotone*"},
        ),
        Item(
            "Figure 12, values",
            "the 'top-K singular values appear to monotonically decay' too",
            {"mlp_gradient_decay": "F12.leading*"},
        ),
        Item(
            "Appendix C, G_2",
            "the leading singular values decay like the norm, with G_2 = 2",
            {"mlp_gradient_decay": "F12.values"},
        ),
        Item(
            "Appendix C, conjecture",
            "the reason is that 'the network is approximately linear': W_2 phi(W_1 X) = phi'(0) W_2 W_1 X nearly",
            tests=(
                LEMMAS + "test_the_network_is_linear_but_for_the_square_of_its_preactivations",
                LEMMAS + "test_that_bound_is_attained",
                LEMMAS + "test_the_relative_deviation_at_the_start_falls_with_eps_unless_there_is_a_kink",
                LEMMAS + "test_no_multiple_of_the_linear_network_is_near_one_with_a_kink",
                LEMMAS + "test_along_a_run_the_deviation_is_small_but_does_not_fall_with_eps",
                LEMMAS + "test_in_the_setting_of_figure_12_the_deviation_is_below_a_hundredth_with_elu",
                LEMMAS + "test_the_gradient_is_that_of_the_linear_network_but_for_a_bounded_part",
                LEMMAS + "test_that_part_of_the_first_gradient_falls_with_eps_unless_there_is_a_kink",
            ),
            remark="relative deviation: of order eps at the start (eps^2 for tanh, 1 for ReLU); along a run it does "
            "not fall with eps but stays small, below 0.01 with ELU in the setting of Figure 12, where ReLU has 0.7; "
            "sigma_{K+1} is at most the distance from the linear network's gradient",
        ),
        Item("Figure 13", "sigma_{K+1}(G_1(t)) stays far below sigma_K(W_2^T Y X^T)", {"mlp_gradient_decay": "F13*"}),
        Item(
            "Lemma D.1",
            "sigma_1(A) <= sigma_1(|A|)",
            tests=(THEORY + "test_lemma_d1_absolute_values_do_not_lower_the_norm",),
        ),
        Item(
            "Lemma D.2",
            "rows and columns of W X are at most eps long",
            tests=(THEORY + "test_lemma_d2_rows_and_columns_of_the_preactivations_are_short",),
        ),
        Item(
            "Lemma D.3",
            "dist = sqrt 2 ||sin Theta|| = sqrt 2 ||U_perp^T U_2||_F",
            tests=(THEORY + "test_lemma_d3_distance_and_angles_agree",),
        ),
        Item(
            "Lemma D.4",
            "a projection does not widen the angle",
            tests=(THEORY + "test_lemma_d4_a_projection_does_not_widen_the_angle",),
        ),
        Item(
            "Lemma D.5, eq. (17)",
            "Wedin's bound on the angles of singular subspaces",
            {"mlp_theorem": "Wedin.*"},
            (THEORY + "test_lemma_d5_wedin", SUBSPACES + "test_wedins_inequality"),
        ),
        Item(
            "Lemma D.6",
            "||G_1||_F <= beta sigma_1(W_2) sqrt(2 loss)",
            tests=(THEORY + "test_lemma_d6_the_loss_bounds_the_gradient",),
        ),
        Item(
            "Lemma D.7",
            "the gradient is Lipschitz with gamma_L",
            tests=(THEORY + "test_lemma_d7_the_gradient_is_lipschitz",),
        ),
        Item(
            "After Lemma D.7",
            "'if eta <= 1/gamma_L, then the loss does not increase'",
            tests=(
                LEMMAS + "test_a_step_of_at_most_one_over_gamma_does_not_raise_the_loss",
                LEMMAS + "test_the_descent_is_attained_and_twice_the_step_is_the_limit",
                LEMMAS + "test_the_descent_needs_the_first_term_of_gamma",
                LEMMAS + "test_the_descent_needs_the_second_term_of_gamma",
                LEMMAS + "test_with_a_step_size_from_the_start_the_loss_falls_at_every_step",
                LEMMAS + "test_residuals_on_the_way_can_exceed_those_at_both_ends",
            ),
            remark="with M a bound on the residuals on the way from W_1(t) to W_1(t+1), such as sqrt(2 loss); "
            "Assumption 3.4 has it at the iterates alone (a test shows a larger residual between two points that are "
            "not iterates); D11.step_size of mlp_theorem judges the condition",
        ),
        Item(
            "Lemma D.8",
            "sigma_i(G_1(0)) lies within r(eps) of phi'(0) sigma_i(W_2^T Y X^T)",
            {"mlp_theorem": "D8*", "mlp_gradient_tail": "D8*"},
            (THEORY + "test_lemma_d8_the_first_gradient_has_k_large_singular_values",),
        ),
        Item(
            "Lemma D.9",
            "a bound on the angles between the gradient's subspaces at t and at 0",
            {"mlp_theorem": "D9*"},
            (THEORY + "test_lemma_d9_wedins_bound_and_its_chain_hold_along_the_run",),
            remark="its denominator needs G_3 > 1 - phi'(0) + r(eps) / sigma_K, which Assumption 3.4 does not state",
        ),
        Item(
            "Lemma D.10",
            "a step changes W_1 on S_small by at most eta rho(t), and a bound on rho(t)",
            tests=(THEORY + "test_the_explicit_bounds_hold_where_the_start_is_small_enough",),
        ),
        Item(
            "Theorem D.11",
            "Theorem 3.5 with its constants: its hypotheses, and its second form",
            {"mlp_theorem": "D11.step_size D11.scale D11.second* D11.proof"},
            (THEORY + "test_theorem_d11_is_not_vacuous_and_says_something_of_s_small_alone",),
        ),
        Item(
            "Figure 14",
            "15 and 30 degrees from S_big GD ends at most 3 points below psi = 0, at 75 more than that",
            {"fashion_mnist_angle": "F14.near* F14.worse F14.uniform.near*"},
            remark="F14.uniform: last layer as PyTorch's Linear",
        ),
        Item(
            "Figure 14, 45 degrees",
            "'GD reaches similar solutions' up to 45 degrees, and beyond 'progressively worse local minima'",
            remark="45 degrees, and accuracies at 60, are in the summaries of fashion_mnist_angle alone",
        ),
        Item(
            "Appendix F.1",
            "curves 'nearly identical for all psi in {0, 15, 30, 45}', at 45 'slightly more iterations': steps to 90% "
            "of the accuracy",
            {"fashion_mnist_angle": "F14.alike"},
        ),
        Item(
            "Appendix F.1, 60 and 75 degrees",
            "'the test loss still decreases from their initial values'",
            {"fashion_mnist_angle": "F14.falls F14.stays F14.uniform.falls F14.uniform.stays"},
        ),
        Item(
            "Appendix F.1, 90 degrees",
            "'The test loss stays at its initial value for all training epochs': at the end it does",
            {"fashion_mnist_angle": "F14.right_angle F14.uniform.right_angle"},
        ),
        Item(
            "Figure 15",
            "r = 4K is no worse than r = 2K, in the mean over the seeds",
            {"vgg16_rank": "F15.gain*"},
            remark="with weights tuned for edges",
        ),
        Item("Appendix F.2, r = 4K", "it 'noticeably closes the gap'", {"vgg16_rank": "F15.imagenet*"}),
        Item(
            "Appendix F.2, more columns",
            "doubling r further 'leads to diminishing returns in performance gains'",
            remark="r = 8K and 16K are in the table of vgg16_rank without a bound, with weights tuned for edges",
        ),
        Item(
            "Appendix F.2, width",
            "r = Theta(K) suffices for 'only about 2 - 3% lower than' the full head: r = 16K at most 5 points lower",
            {"vgg16_rank": "F15.width*"},
            remark="our bound, one full head, with weights tuned for edges; two of the four heads are within 5 "
            "points at r = 2K too",
        ),
        Item(
            "Diagnosis",
            "what a short run says of the accuracy that a low rank costs",
            {"diagnosis": "DG.*"},
            remark="beyond the paper",
        ),
    ),
    law=(
        "In MLPs with smooth activations nearly all change of a layer lies in a small subspace, which the "
        "first gradient and the first weights determine; with ReLU it does not."
    ),
    arxiv="2602.06208",
)
