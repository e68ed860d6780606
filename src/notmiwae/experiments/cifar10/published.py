"""The numbers that the report printed for CIFAR-10, and those measured on it since.

Source: "not-MIWAE PGM-DGM project report" (Bire, Bouet & Caillaud, 2024), Table 4 and Figure 2; and
Ipsen, Mattei & Frellsen, ICLR 2021, for the clipped images.
"""

from __future__ import annotations

from notmiwae.experiments.results import Published

SELECTED = (
    "the report: the best validation RMSE seen while training, that is, selected with the true "
    "values; 50,000 training images, 100 epochs, 10,000 validation images"
)
AVERAGED = "the report: averaged over images"
MEASURED = "not in the report: measured on 800 images of CIFAR-10"
PAPER = "Ipsen, Mattei & Frellsen (2021): SVHN in grey, values above 0.75 missing"

REPORTED = {
    "self-masking": (0.1526, 2_616_262),
    "self-masking-known": (0.162, 2_616_262),
    "convolutional": (0.1597, 2_610_202),
    "convolutional-2": (0.1525, 2_638_281),
    "nonlinear": (0.166, 5_759_430),
    "linear": (0.1485, 12_050_374),
}
"""RMSE and trainable weights by mechanism, in the order of Table 4."""

FIGURE_2 = {8: 0.167, 16: 0.19, 32: 0.218, 46: 0.28, 128: 0.292, 256: 0.328}
"""Where the curves of Figure 2 end, by batch size, read off."""


def as_reported(mechanism: str) -> str:
    """Return the name of a model of the report's shape."""
    return f"as reported: {mechanism}"


TABLE_4 = {
    **{
        as_reported(name): Published(error, "*", SELECTED, name=name, digits=4)
        for name, (error, _) in REPORTED.items()
    },
    "mean of the image": Published(0.254, "†", AVERAGED, name="mean of the image"),
    "largest other channel": Published(0.104, "‡", MEASURED, name="largest other channel"),
    "oracle regression": Published(0.060, "‡", MEASURED, name="oracle regression"),
}
CLIPPED = {
    "MIWAE": Published(0.17298, "§", PAPER, name="MIWAE"),
    "not-MIWAE": Published(0.07294, "§", PAPER, name="not-MIWAE"),
    "1 in every gap": Published(0.1757, "§", PAPER, name="constant 1", digits=4),
}
