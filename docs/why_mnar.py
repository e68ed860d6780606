"""Draw docs/why-mnar.svg, the README's picture: ``python docs/why_mnar.py``.

A thousand made-up people report age, years of education and income; those with high incomes tend
to withhold them. The picture shows what was withheld and what two imputers believe was withheld.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from notmiwae import NotMIWAEImputer

PANELS = {
    "truth": ("What was withheld", "#1f2933"),
    "mice": ("What MICE fills in", "#d55e00"),
    "ours": ("What not-MIWAE fills in", "#0072b2"),
}


def survey(n_people: int, rng: np.random.Generator) -> np.ndarray:
    """Age, years of education and income in thousands, ``(n_people, 3)``."""
    age = rng.normal(45, 12, n_people)
    education = rng.normal(13, 3, n_people)
    income = 40 + 0.5 * (age - 45) + 3 * (education - 13) + rng.normal(0, 9, n_people)
    return np.column_stack([age, education, income])


def main() -> None:
    """Impute and draw."""
    rng = np.random.default_rng(0)
    truth = survey(1000, rng)
    withheld = rng.random(1000) < 1 / (1 + np.exp(-0.8 * (truth[:, 2] - 45)))
    table = truth.copy()
    table[withheld, 2] = np.nan
    mice = IterativeImputer(sample_posterior=True, random_state=0).fit_transform(table)
    imputer = NotMIWAEImputer("self-masking-known", random_state=0).fit(table)
    filled = {
        "truth": truth[withheld, 2],
        "mice": mice[withheld, 2],
        "ours": imputer.sample(table, 1)[0, withheld, 2],
    }
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    bins = np.linspace(0, 90, 46)
    for ax, (key, (title, colour)) in zip(
        figure.subplots(1, 3, sharey=True), PANELS.items(), strict=True
    ):
        ax.hist(table[~withheld, 2], bins, color="#d9dee3", label="reported")
        ax.hist(filled[key], bins, color=colour, alpha=0.85, label="withheld")
        ax.axvline(filled[key].mean(), color=colour, linestyle=":")
        ax.set_title(f"{title}: mean {filled[key].mean():.0f}", fontsize=10)
        ax.set_xlabel("income (thousands)")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.set_yticks([])
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).with_name("why-mnar.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
