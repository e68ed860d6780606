"""What the page of `notmiwae.experiments.cifar10` says."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from notmiwae import report
from notmiwae.experiments.cifar10 import Work, batches, clipping, figures, tables
from notmiwae.experiments.cifar10.baselines import BASELINES, ORACLE, oracle
from notmiwae.experiments.cifar10.methods import LONGER, OURS
from notmiwae.experiments.cifar10.problem import make_problem
from notmiwae.experiments.cifar10.published import as_reported
from notmiwae.experiments.cifar10.study import BATCHES, CHANNELS, CLIPPING, TABLE_4, Study
from notmiwae.experiments.provenance import provenance
from notmiwae.experiments.results import write_text
from notmiwae.report import page
from notmiwae.report.page import Block, Page, Section

PIXELS = {
    "5-NN": "Rows are pixels with their four neighbours; the five nearest of 2,000.",
    "MICE": "Chained Bayesian regressions over the same rows, 40,000 of them, 30 rounds at most.",
    "missForest": "Chained random forests of 50 trees over 8,000 of the same rows, 4 rounds.",
}
MODELS = {
    as_reported("self-masking"): "Whether a value is missing depends on that value alone: high "
    "ones go missing, or low ones, learned for each channel of each pixel.",
    as_reported("self-masking-known"): "The same, told that high values go missing.",
    as_reported("convolutional"): "One convolution over the completed image says what is missing.",
    as_reported("convolutional-2"): "Two convolutions, with 512 maps between.",
    as_reported("nonlinear"): "A network over all values of the image, with 512 units between.",
    as_reported("linear"): "A weighted sum of all values of the image for each value.",
    "MIWAE, Gaussian": "The report’s networks without a model of the gaps.",
    "MIWAE, colour chain": "The same with channels that hang together within a pixel.",
    "self-masking, colour chain": "Self-masking with such channels.",
    "pixelwise, Gaussian": "A small network over the channels of one pixel, the same for all "
    "pixels, says which of them is missing; missing values are integrated out.",
    OURS: "The same with channels that hang together: given the latents, a channel’s mean depends "
    "on the pixel’s other channels, so that what is observed of a pixel says what is missing.",
    LONGER: "The same with more passes over the images.",
}


def write(results: Study, work: Work, output: Path) -> None:
    """Write ``report.html``."""
    write_text(output / "report.html", report.render(make_page(results, work)))


def make_page(results: Study, work: Work) -> Page:
    """Return the page for a run, for `notmiwae.report.render`."""
    about = results.metadata
    size = tables.facts(results)
    sections = [
        _short(results),
        _section("What comes back", figures.imputations(work)),
        _batches(results, work),
        _channels(results, work),
        _classes(results, work),
        _clipping(results, work),
        _method(results),
        _limits(results),
        provenance(results, {"Remark": about["remark"]} if "remark" in about else {}),
    ]
    return {
        "title": "Which blue was there?",
        "kicker": f"{_images(results)} · preset {about['preset']}",
        "lead": (
            "Wherever blue exceeds red and green, it was deleted. Each method learned from images "
            "with such gaps only, and filled those of images that it had not seen. This page sets "
            "the errors beside those that a report of 2024 printed, answers its open questions, "
            "and shows the pictures."
        ),
        "facts": [
            ("images to learn from", f"{size['n_training_images']:,}"),
            ("test images", f"{size['n_test_images']:,}"),
            ("of their pixels have a gap", f"{size['share_of_test_pixels']:.0%}"),
            ("methods", str(len(results.measured(TABLE_4)))),
        ],
        "sections": [section for section in sections if section["blocks"]],
        "footer": f"Made by notmiwae {about['versions']['notmiwae']}.",
    }


def _images(results: Study) -> str:
    names = {"cifar10": "CIFAR-10", "photographs": "Patches of scikit-learn’s photographs"}
    return names[results.metadata["images"]["name"]]


def _section(title: str, *blocks: Block | None) -> Section:
    return {"title": title, "blocks": [block for block in blocks if block]}


def _short(results: Study) -> Section:
    """Return Table 4 and what it shows."""
    if TABLE_4 not in results.parts:
        return {"title": "", "blocks": []}
    about = results.metadata
    n_images = tables.facts(results)["n_training_images"]
    number = about["n_samples"]
    budget = (
        f"An epoch is a pass over {n_images:,} images; {tables.seen(results)} Each image has "
        f"{number} draw{'s' * (number > 1)} of its hidden numbers at a time, and a batch has "
        f"{about['batch_size']} images. The report’s models saw 5,000,000 images. Networks compute "
        f"in {about['precision']}."
    )
    truth = (
        "The report says that training needs the true values of missing ones. It does not: the "
        "bound that is raised is a function of the values that are there and of the mask, and no "
        "other value entered any training here. True values serve to score at the end; the report "
        "used them to choose the best epoch as well."
    )
    blocks = [
        page.text(*tables.beside_the_bound(results), budget),
        tables.table_4(results),
        figures.errors(results),
        page.text(*tables.beside_the_report(results), truth),
    ]
    return _section("Table 4", *blocks)


def _batches(results: Study, work: Work) -> Section:
    """Return Figure 2 and its answer."""
    if BATCHES not in results.parts:
        return {"title": "", "blocks": []}
    introduction = (
        "The report found that large batches fail, and left open why. In its code the sum that "
        "makes the bound runs over the images of a batch, where it should run over the draws of "
        "one image. What is raised then is the probability of the image that fits best, the more "
        "so the larger the batch, and the others are learned from hardly at all."
    )
    return _section(
        "Why large batches failed",
        page.text(introduction, batches.ABOUT),
        figures.batch_curves(results, work.kept),
        tables.batch_sizes(results),
        page.text(*tables.what_batches_show(results)),
    )


def _channels(results: Study, work: Work) -> Section:
    """Return other channels: zero-shot, adapted, trained."""
    if CHANNELS not in results.parts:
        return {"title": "", "blocks": []}
    introduction = (
        "The report found that a model that was trained with one missing channel does not carry "
        "over to another, and left it there. What is specific to the channel is small: why it is "
        "missing, and how the encoder reads images with that gap. Adapted keeps the decoder, which "
        "knows what images look like, and fits mechanism and encoder to images with the new gaps, "
        "without any true value of theirs. What it was trained on before, the same images with "
        "other gaps, it has seen in addition: it starts ahead."
    )
    return _section(
        "From one channel to another",
        page.text(introduction),
        tables.channels(results),
        *figures.transfers(work),
    )


def _classes(results: Study, work: Work) -> Section:
    """Return errors by class."""
    names: Sequence[str] = make_problem(work.source).classes
    return _section("By class", tables.classes(results, work.kept, names))


def _clipping(results: Study, work: Work) -> Section:
    """Return over-exposed grey images."""
    if CLIPPING not in results.parts:
        return {"title": "", "blocks": []}
    size = results.metadata["data"][CLIPPING]
    introduction = (
        f"In the original paper’s experiment, values of grey images above {clipping.LIMIT} are "
        "missing, as in an over-exposed photograph, and the model is given the true mechanism. "
        f"Here it is told only that high values go missing. Of {size['n_test_images']:,} test "
        f"images ({work.greys.name}), {size['share_of_test_pixels']:.0%} of the pixels are "
        "missing. Published numbers are of SVHN, and stand beside for orientation."
    )
    return _section(
        "Over-exposed",
        page.text(introduction),
        tables.clipped(results),
        figures.over_exposed(work),
    )


def _method(results: Study) -> Section:
    """Return how the study was done, in plain words."""
    why = (
        "Such values are missing not at random (MNAR): whether one is missing depends on what it "
        "would have been. A method that learns how blue goes with red and green from the pixels "
        "where blue is there learns it from those where blue is small, and fills in too little."
    )
    models = (
        "A model of the family of not-MIWAE has three parts, learned together: a decoder, which "
        "turns a few hidden numbers into an image; an encoder, which guesses the hidden numbers "
        "from the values that are there; and the mechanism, which says how likely each value is to "
        "be missing. The networks are the report’s: three convolutions with 64, 128 and 256 maps, "
        "128 hidden numbers, three transposed convolutions back. Training and bound are ours."
    )
    baselines = {
        name: PIXELS.get(name) or inspect.cleandoc(fill.__doc__ or "").split("\n")[0]
        for name, fill in {**BASELINES, ORACLE: oracle}.items()
    }
    used = results.measured(TABLE_4)
    named = {name: about for name, about in {**baselines, **MODELS}.items() if name in used}
    return _section("What was done", page.text(why, models), page.terms(named))


def _limits(results: Study) -> Section:
    """Return what the numbers do not say."""
    limits = (
        "One set of images, one split, and one seed for all but our own model, so that small "
        "differences mean nothing. The gaps follow a rule of the pixel without exception, and the "
        "pixelwise mechanism has the form of that rule, though not the rule itself: gaps with "
        "another cause may rank the methods otherwise. Published numbers were selected with the "
        "true values and come from many more images and epochs, so they stand beside ours for "
        "orientation."
    )
    return _section("What this does not show", page.text(limits))
