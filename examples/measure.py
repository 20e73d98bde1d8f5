"""Measure predictions by Dice, clDice and topology: one image after the other, then the means."""

from statistics import mean

from synthetic import IGNORE, curves

from scnp_kernels.metrics import betti_errors, betti_matching_error, cldice, dice


def measure() -> dict[str, float]:
    """The means over four images of a prediction with a gap and a false speck in each."""
    _, truth = curves(4)  # [4, 64, 64]: 0, 1 and, where nobody has labelled, IGNORE
    prediction = (truth == 1).long()  # a network's logits.argmax(1)
    prediction[:, :, 20:23] = 0  # the gap
    prediction[:, 60:62, 40:42] = 1  # the speck
    prediction[:, :2] = 1  # costs nothing: outside the field of view

    scores: dict[str, list[float]] = {}
    for predicted, true in zip(prediction, truth, strict=True):  # [64, 64] each
        seen = true != IGNORE
        betti0, betti1 = betti_errors(predicted, true, field_of_view=seen)
        without_specks = betti_errors(predicted, true, field_of_view=seen, smallest_component=5)
        row = {
            "Dice": dice(predicted, true, field_of_view=seen),
            "clDice": cldice(predicted, true, field_of_view=seen),
            "Betti-0 error": betti0,
            "Betti-1 error": betti1,
            "Betti-0 error, pieces of 5 pixels or more": without_specks[0],
            "Betti matching error": betti_matching_error(predicted, true, field_of_view=seen),
        }
        for name, value in row.items():
            scores.setdefault(name, []).append(value)
    return {name: mean(values) for name, values in scores.items()}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:<42}{value:.3f}")
