"""Yaras et al. 2024, the successor of the first paper: the items that its public summary names."""

from experiments.papers.item import Item, Paper

__all__ = ["PAPER"]

ADAPTERS = "tests/lawlib/compress/test_adapters.py::"

PAPER = Paper(
    "Yaras et al. 2024",
    "Compressible Dynamics in Deep Overparameterized Low-Rank Learning & Adaptation",
    (
        Item(
            "Dynamics",
            "each weight matrix learns in an invariant subspace of low dimension",
            {"deep_lora": "DL.subspace DL.learns"},
        ),
        Item(
            "Compression, least squares",
            "a compressed factorization reproduces the overparameterized one",
            {"deep_lora": "DL.equal DL.distance DL.loss DL.control"},
            (ADAPTERS + "test_on_whitened_least_squares_the_compressed_adapter_is_the_full_one",),
        ),
        Item(
            "Compression, any loss",
            "the same where few classes and few samples bound the gradient's two spaces",
            {"deep_lora": "DL.equal DL.distance DL.loss"},
            (ADAPTERS + "test_for_any_loss_of_few_classes_and_few_samples_it_is_the_full_one",),
            "beyond the paper",
        ),
        Item(
            "Compression, fine-tuning",
            "compressed Deep LoRA stands for the one with large factors",
            {"deep_lora_digits": "DD.start DD.near"},
            remark="on digits, where it is an approximation",
        ),
        Item(
            "Updates",
            "'parsimonious (lower-rank) updates'",
            {"deep_lora_digits": "DD.lower"},
            remark="on digits; the paper's are of language models",
        ),
        Item(
            "Accuracy",
            "better few-shot generalization than LoRA, and robust to the rank",
            {"deep_lora_digits": "DD.adapts"},
            remark="of language models; on digits the summary compares them, and LoRA is ahead",
        ),
        Item(
            "Known issue of the code",
            "compressing 'can cause OOM', as the d x d factors are formed first",
            tests=(ADAPTERS + "test_at_width_100_000_no_temporary_has_the_size_of_a_matrix",),
            remark="here they are never formed",
        ),
    ),
    law=("A deep adapter of d x d factors learns in a small invariant subspace, so that a compressed one equals it."),
    arxiv="2406.04112",
)
