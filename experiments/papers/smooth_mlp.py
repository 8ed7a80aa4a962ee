"""Xu et al. 2026, Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

THEORY = "tests/lawlib/theory/test_smooth_mlp.py::"
SUBSPACES = "tests/lawlib/linalg/test_subspaces.py::"
SPECTRA = {"mlp_spectra": "F8.*"}

PAPER = Paper(
    "Xu et al. 2026",
    "Emergent Low-Rank Training Dynamics in MLPs with Smooth Activations",
    (
        Item("Figure 1", "the singular values of the first layer, ELU, GELU, SiLU", SPECTRA, remark="drawn"),
        Item("Figure 2", "the middle subspace moves slowly with ELU, and not with ReLU", SPECTRA),
        Item("Definition 3.1", "principal angles and ||sin Theta||", tests=(SUBSPACES + "test_angles_are_scipys",)),
        Item(
            "Assumption 3.4",
            "the residual is bounded; gradient norm and singular values decay; the tail stays small",
            {"mlp_gradient_decay": "F12.* F13*"},
            remark="M and G_3 are in the summaries of mlp_theorem, mlp_gradient_decay and mlp_epsilon",
        ),
        Item(
            "Theorem 3.5",
            "outside of S_big a step changes W_1 by at most eta rho(t), in terms of A(t) and sigma_{K+1}",
            {"mlp_theorem": "A.* D11.*"},
            (THEORY + "test_theorem_d11_holds_at_every_step",),
        ),
        Item(
            "Section 3.2, eps",
            "in the first step the perturbation grows by at most O(eps): its exponent in eps",
            {"mlp_epsilon": "E.*"},
        ),
        Item("Figure 3", "block 1 carries almost all of the change of W_1", {"mlp_theorem": "F3.*"}),
        Item(
            "Section 3.3, eqs. (5) to (8)",
            "S_small and the bases of deeper layers",
            tests=(
                THEORY + "test_s_small_is_the_intersection_and_s_big_its_complement",
                THEORY + "test_bases_are_carried_by_the_products_of_the_layers",
            ),
        ),
        Item("Figure 4", "four layers: block 1 carries most of the change in every layer", {"mlp_deep": "F4.*"}),
        Item(
            "Figure 5",
            "SGD, Adam and Muon on unwhitened data: the same approximately",
            {"mlp_optimizers": "F5.mean* F5.worst* F5.order*"},
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
            "a low-rank MLP in S_big trains like the full one, in a random subspace it does not",
            {"fashion_mnist_low_rank": "F6.*"},
            remark="all images and GELU at 14 x 14 pixels alone; F6.uniform: last layer as PyTorch's Linear",
        ),
        Item(
            "Figure 7, classifier",
            "a low-rank head of VGG-16 in S_big is close to the full one, a random one guesses",
            {"vgg16_cifar10": "F7.batch* F7.all* F7.random* F7.imagenet*"},
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
            {"vgg16_cifar10": "F7.batch F7.imagenet"},
        ),
        Item(
            "Section 5.1.2, epochs",
            "the low-rank head takes 'noticeably more epochs'",
            remark="measured without a bound, in the summary of vgg16_cifar10",
        ),
        Item(
            "Section 5.1.2, cause",
            "the conjecture that this is because one batch estimates S_big",
            {"vgg16_cifar10": "F7.conjecture*"},
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
            "the bound says something where m exceeds d log d",
            {"mlp_gradient_tail": "B1.positive"},
        ),
        Item("Figure 11", "the gradient's tail scales with eps for GELU, not for ReLU", {"mlp_gradient_tail": "F11.*"}),
        Item(
            "Figure 12",
            "gradient norm and leading singular values 'monotonically decay'",
            {"mlp_gradient_decay": "F12.*"},
        ),
        Item(
            "Appendix C, G_2",
            "the leading singular values decay like the norm, with G_2 = 2",
            {"mlp_gradient_decay": "F12.values"},
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
            "Theorem 3.5 with its constants",
            {"mlp_theorem": "D11.*"},
            (THEORY + "test_theorem_d11_is_not_vacuous_and_says_something_of_s_small_alone",),
        ),
        Item(
            "Figure 14",
            "up to 45 degrees from S_big GD reaches similar solutions, beyond progressively worse ones",
            {"fashion_mnist_angle": "F14.near* F14.worse F14.right_angle F14.falls F14.uniform*"},
            remark="F14.uniform: last layer as PyTorch's Linear",
        ),
        Item(
            "Appendix F.1",
            "'nearly identical for all psi in {0, 15, 30, 45}'; at 60 and 75 degrees 'the loss still decreases'",
            {"fashion_mnist_angle": "F14.alike F14.falls F14.stays"},
        ),
        Item(
            "Figure 15",
            "more columns help at first, then less and less",
            {"vgg16_rank": "F15.*"},
        ),
        Item("Appendix F.2, r = 4K", "'noticeably closes the gap'", {"vgg16_rank": "F15.imagenet*"}),
        Item(
            "Diagnosis",
            "what a short run says of the accuracy that a low rank costs",
            {"diagnosis": "DG.*"},
            remark="beyond the paper",
        ),
        Item("Appendix F.2, width", "r of order K suffices for 2 to 3% below the full head"),
    ),
    law=(
        "In MLPs with smooth activations nearly all change of a layer lies in a small subspace, which the "
        "first gradient and the first weights determine; with ReLU it does not."
    ),
    arxiv="2602.06208",
)
