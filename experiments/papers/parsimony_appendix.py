"""The appendices of Yaras et al. 2023: Figures 10 to 12, and the lemmas of the proofs."""

from experiments.papers.item import Item

__all__ = ["APPENDIX"]

THEORY = "tests/lawlib/theory/test_parsimony.py::"
LEMMAS = "tests/lawlib/theory/test_collapse_lemmas.py::"
SENTENCES = "tests/lawlib/theory/test_parsimony_lemmas.py::"
INITIALIZERS = "tests/lawlib/networks/test_initializers.py::"

APPENDIX = (
    Item("Figure 10", "without whitening most singular values stay", {"dln_unwhitened": "F10.values"}),
    Item(
        "Appendix A, Figure 10",
        "the 'singular subspaces evolve very little throughout optimization'",
        {"dln_unwhitened": "F10.subspaces"},
    ),
    Item(
        "Figure 11",
        "a smaller eps 'leads to a steeper decay', in linear and ReLU networks",
        {"collapse_scale": "F11.linear F11.relu"},
    ),
    Item(
        "Figure 11, rates",
        "the rate of linear networks is eps^2 / n^(1/L) at loss 1e-12; at 1e-6, as drawn, it is off that",
        {"collapse_scale": "F11.rate F11.drawn"},
        remark="beyond the paper",
    ),
    Item(
        "Appendix A, scale",
        "normal and uniform entries of one scale: E||W||_F^2 = d eps^2",
        tests=(
            INITIALIZERS + "test_fan_in_normal_has_its_law",
            INITIALIZERS + "test_fan_in_uniform_has_its_law",
        ),
        remark="the uniform range is sqrt(3 / d) eps, not the printed 3 eps / d",
    ),
    Item(
        "Figure 12",
        "linear decay from orthogonal, normal and uniform weights, in linear and ReLU networks",
        {"collapse_init": "F12.line F12.relu.line"},
    ),
    Item(
        "Appendix A, Figure 12",
        "it 'decays at the same rate, regardless of the kind of initialization used'",
        {"collapse_init": "F12.same*"},
        remark="linear networks",
    ),
    Item(
        "Figure 12, rates",
        "the rates of all kinds of weights are within a factor of 1.3",
        {"collapse_init": "F12.rate F12.relu.rate"},
        remark="our bound",
    ),
    Item(
        "Lemma 1",
        "Case 1: m pairs of directions with W_l v = rho u and W_l^T u = rho v, orthogonal to the target",
        {"dln_parsimony": "T1.block[case1] T1.angle[case1]"},
        (THEORY + "test_the_idle_inputs_are_the_null_spaces_of_the_proof",),
    ),
    Item(
        "Lemma 2",
        "Case 2: the same for l < L, and the last layer ignores these directions",
        dict.fromkeys(("dln_parsimony", "dln_fashion_mnist"), "T1.readout*"),
    ),
    Item(
        "Lemma 3, eq. (29)",
        "(n/2)^(1/2L) <= sigma_K(W_l) <= sigma_1(W_l) <= (2n)^(1/2L)",
        tests=(LEMMAS + "test_lemma_3",),
    ),
    Item(
        "Lemma 3, its proof",
        "1 - 1/(15 L^2) >= (1/(30 L^2) + (1/2)^(1/L))^L for all L >= 1",
        tests=(
            SENTENCES + "test_the_inequality_of_lemma_3_holds_with_bounds_that_leave_out_the_depth",
            SENTENCES + "test_the_inequality_of_lemma_3_holds_between_the_integers_and_far_out",
            SENTENCES + "test_the_constant_30_of_lemma_3_could_be_6_where_one_layer_gives_equality",
            SENTENCES + "test_the_last_layer_keeps_its_leading_values_at_the_largest_scale_of_theorem_2",
        ),
        remark="for all L by e^(1/15) / 2 < 14/15, which lies between the sides; the constant 30 could be 6",
    ),
    Item(
        "Lemma 4, eqs. (31), (32)",
        "balanced layers share singular values and vectors, the last one nearly",
        tests=(
            LEMMAS + "test_lemma_4_on_the_layers_below_the_last",
            LEMMAS + "test_lemma_4_on_the_last_layer",
        ),
        remark="Sigma_{l+1} = Sigma_l holds for l <= L-2, not L-1",
    ),
    Item(
        "Eq. (41)",
        "sigma_i <= K^(1/4) eps for i > K",
        tests=(LEMMAS + "test_the_other_singular_values_are_small",),
    ),
    Item(
        "Eq. (45)",
        "sigma_min(W_L U_{L-1,1}) >= (n/2)^(1/2L) / 2",
        tests=(LEMMAS + "test_the_proof_of_theorem_2_ends_at_some_number_of_classes",),
        remark="its hypothesis (28) gives it for K <= (30 L^2 / 16)^2 alone",
    ),
    Item(
        "Eqs. (44), (47)",
        "the scatter within classes leaves the leading K directions",
        tests=(LEMMAS + "test_the_scatter_within_classes_leaves_the_leading_directions",),
    ),
    Item(
        "Eq. (48)",
        "the scatter within classes falls by (sqrt K + 1) eps^2 a layer",
        tests=(LEMMAS + "test_theorem_2_at_the_edge_of_its_hypotheses",),
        remark="by (15), which it serves; kappa_1 eps^(L-l) is printed without its square",
    ),
    Item(
        "Eqs. (49), (52)",
        "the leading K inputs are the class means, up to 1/2",
        tests=(LEMMAS + "test_the_leading_inputs_are_the_class_means",),
    ),
    Item("Lemma 5, eq. (53)", "||A^T A||_F <= ||A||_F^2 <= sqrt(r) ||A^T A||_F", tests=(LEMMAS + "test_lemma_5",)),
)
