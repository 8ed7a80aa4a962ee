"""The claims of compressed Deep LoRA in its linear setting, and numbers without a bound."""

from experiments.laws.deep_lora.linear.measures import loss_apart, loss_left, off_prediction
from experiments.runner.laws import Expected, Law, Source, measure, of_size
from experiments.runner.runs import Run, where
from experiments.runner.summary import final, largest

PAPER = "Yaras et al. 2024"
BOUNDS = {"float64": 1e-12, "float32": 2e-4}


def part(run: Run) -> str:
    """The runs that are judged together, ``whitened_f32``: of one loss and one precision."""
    return run.config.net.kind + "_f32" * (run.config.precision == "float32")


def rounding(run: Run) -> float:
    """What is floating-point error in the run's precision."""
    return BOUNDS[run.config.precision]


EXACT = Source(
    paper=PAPER,
    figure="Deep LoRA, linear setting",
    of=where(net__kind=lambda kind: kind != "control"),
    vacuous=(of_size("the fall of the loss, 1 - last / first,", lambda run: 1 - loss_left(run), 0.5),),
)
CONTROL = Source(paper=PAPER, figure="Deep LoRA, linear setting", of=where(net__kind="control"))
WHOLE = "||Delta - U W~_{3:1} V^T - rho^3 (Q - U V^T)||_F / ||Delta||_F"
whole_distance = measure(lambda run: run.worst("whole_distance"))


def exact(id: str, says: str, expected: Expected) -> Law:
    """A law for each loss and precision."""
    return EXACT.law(id, says, expected, each=part)


LAWS = (
    exact(
        "DL.equal", f"the compressed adapter is the d x d one at every step seen: {WHOLE}", whole_distance < rounding
    ),
    exact(
        "DL.subspace",
        "every factor moves in k directions: sigma_{k+1}(W_l(t) - (rho(t)/eps) W_l(0)) / sigma_1(W_l(t))",
        measure(lambda run: run.worst("excess")) < rounding,
    ),
    exact("DL.loss", "both have one loss, relative to the first one: difference", measure(loss_apart) < rounding),
    exact(
        "DL.distance",
        "without the term of rho the distance is rho^3 sqrt(d - k): difference / ||Delta||_F",
        measure(off_prediction) < rounding,
    ),
    EXACT.check("DL.learns", "the loss falls: last over first", measure(loss_left) < 0.5, each=part),
    CONTROL.law("DL.control", f"with the bases of another draw of W_l(0): largest {WHOLE}", whole_distance > 1e-2),
)
SUMMARY = {
    "last loss over first": loss_left,
    "idle value at the end": final("rho"),
    "largest distance / ||Delta||_F": largest("distance"),
    "last distance / ||Delta||_F": final("distance"),
    "largest distance with the term of rho": largest("whole_distance"),
}
