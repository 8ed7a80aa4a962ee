"""The claims on Figure 1 of Yaras et al. 2023: same steps, the distance as predicted, none once rho is added."""

from experiments.laws.parsimony.compression.measures import ended, fall, off_prediction, steps, steps_apart
from experiments.runner.laws import Source, measure, of_size
from experiments.runner.runs import where
from experiments.runner.summary import final, largest

PAPER = "Yaras et al. 2023"
ADDED = "||W_full - W_comp - rho^L (Q - U V^T)||_F / ||Phi||_F"

whole_distance = measure(lambda run: run.worst("whole_distance"))

F1 = Source(
    paper=PAPER,
    figure="Fig. 1",
    of=where(net__kind="pair"),
    vacuous=(of_size("the fall of the loss, 1 - last / first,", fall, 0.5),),
)
CONTROL = Source(paper=PAPER, figure="Fig. 1", of=where(net__kind="control"))
LAWS = (
    F1.law(
        "F1.steps",
        "both networks take the same number of steps to the tolerance: difference",
        measure(steps_apart).equals(0),
        event=ended,
    ),
    F1.law(
        "F1.distance",
        "||W_full - W_comp||_F = eps^L sqrt(d - 2r) to three digits at every step seen: relative error",
        measure(off_prediction) < 1e-3,
    ),
    F1.law("F1.rho", f"{ADDED} at every step seen", whole_distance < 1e-11),
    CONTROL.law("F1.control", f"with the bases of another draw of Q: largest {ADDED}", whole_distance > 1e-3),
)
SUMMARY = {
    "steps to the tolerance": steps,
    "mean loss of the d x d network": final("full_loss"),
    "mean loss of the small network": final("reduced_loss"),
    "largest distance of the networks / ||Phi||_F": largest("distance"),
    "with the term of rho added": largest("whole_distance"),
    "defect of the reduction": final("defect"),
}
