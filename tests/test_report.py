from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from notmiwae import report
from notmiwae.experiments import breast
from notmiwae.experiments.breast import page as breast_page
from notmiwae.experiments.breast.figures import COLOURS
from notmiwae.experiments.breast.methods import DEFAULT, MODELS, NAMED, ablated, as_reported
from notmiwae.experiments.breast.problem import FIRST, TABLES
from notmiwae.experiments.breast.published import PUBLISHED
from notmiwae.experiments.breast.tables import LOWEST, marked
from notmiwae.experiments.results import HELD_OUT, spread
from notmiwae.report import figures, page

OURS = ["MIWAE", NAMED[FIRST], DEFAULT]
METHODS = [
    "column mean",
    *OURS,
    as_reported("linear", "Gaussian"),
    as_reported("self-masking", "Bernoulli"),
    ablated("linear", "all six"),
    "1 in every gap",
]
N_COLUMNS = 4


class Tags(HTMLParser):
    """All tags with their attributes, and the text in each cell of a table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("breast")
    results = breast.run(
        output=folder,
        methods=METHODS,
        tables=[FIRST],
        n_columns=2 * N_COLUMNS,
        n_jobs=1,
        n_epochs=1,
        max_steps=3,
        n_impute_samples=5,
        n_samples=2,
        n_models=1,
        hidden=(4,),
    )
    return results, (folder / "report.html").read_text(encoding="utf-8")


def a_page(**more):
    return {
        "title": "T",
        "kicker": "K",
        "lead": "L",
        "facts": [("name", "value")],
        "sections": [],
        "footer": "F",
        **more,
    }


def an_image(alt="what it shows"):
    return figures.embed(figures.scatter([0, 1], [0, 1], limits=(0, 1)), alt)


def test_page_asks_for_no_other_file(study):
    _, html = study
    for tag, attributes in Tags(html).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]*"', "", html))


def test_embedded_drawings_ask_for_no_other_file(study):
    _, html = study
    drawings = re.findall(r"data:image/svg\+xml;base64,([^\"]*)", html)
    assert drawings
    for drawing in drawings:
        sources = re.findall(r'(?:href|src)="([^"]*)"', b64decode(drawing).decode())
        assert all(source.startswith(("#", "data:")) for source in sources)


def test_every_figure_says_in_words_what_it_shows(study):
    _, html = study
    images = [attributes for tag, attributes in Tags(html).tags if tag == "img"]
    # columns: what was filled in, our mechanisms, the report's; models: training; errors of a
    # table, and while training, sound and faulty; faults
    assert len(images) == 3 * N_COLUMNS + len(OURS) + 1 + 2 + 1
    assert all(len(image["alt"]) > 40 for image in images)
    assert len({image["alt"] for image in images}) == len(images)


def test_numbers_of_the_page_are_those_of_the_results(study):
    results, html = study
    cells = Tags(html).cells
    for entry in results.held_out():
        at = cells.index(entry["method"])
        shown = [spread(entry["rmse"]), results.published_text(entry)]
        assert cells[at + 1 : at + 3] == shown
        assert cells[at + 3 : at + 5] == [spread(entry["mae"]), spread(entry["bias"])]


def test_page_shows_the_report_s_table_beside_ours(study):
    _, html = study
    cells = Tags(html).cells
    for (mechanism, observation), number in {
        (m, o): PUBLISHED[FIRST][as_reported(m, o)]
        for m in ("self-masking", "self-masking-known", "linear", "nonlinear")
        for o in ("Gaussian", "Student-t")
    }.items():
        assert any(str(number) in cell for cell in cells), (mechanism, observation)
    n_columns = 2 * N_COLUMNS
    assert f"{n_columns * (n_columns + 1)}" in cells  # weights of the linear mechanism
    assert "Training was cut short: 1 epochs of 500" in html


def test_page_says_what_was_selected_with_the_true_values(study):
    _, html = study
    assert "selected with the true values" in html
    assert "an oracle" in html


@pytest.mark.parametrize("fault", ["no fault", "bound", "selection", "all six", "published"])
def test_page_shows_every_fault(study, fault):
    _, html = study
    assert fault in Tags(html).cells


def test_best_row_is_the_one_with_the_least_error(study):
    results, html = study
    best = min(results.held_out(), key=lambda entry: entry["rmse"]["mean"])["method"]
    marked = re.search(r'<tr class="best">\s*<th scope="row" data-best="lowest">([^<]*)</th>', html)
    assert marked[1] == best


def test_the_lowest_of_a_row_is_marked_where_there_is_a_choice():
    assert marked([2.0, None, 1.0], ["2", "–", "1"]) == ["2", "–", f"{LOWEST} 1"]
    assert marked([None, 1.0], ["–", "1"]) == ["–", "1"]


def test_the_page_can_explain_and_colour_every_method():
    known = set(map(breast_page.kind, breast.METHODS[HELD_OUT]))
    assert known == set(breast_page.METHODS) | set(breast_page.BASELINES)
    assert set(MODELS) <= set(COLOURS)
    assert set(breast_page.TITLES) == set(TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page_in_a_browser(study, open_in_browser, width):
    _, html = study
    found = open_in_browser(html, width)
    assert found["said"] == found["asked"] == []
    assert len(found["sizes"]) == html.count("<img")
    assert all(min(size) > 0 for size in found["sizes"])
    assert found["overflow"] <= 0


def test_the_same_run_gives_the_same_drawings(study, tmp_path):
    assert an_image() == an_image()


ATTACK = '<script>alert("x")</script> & "quoted"'


def test_text_of_a_user_is_escaped():
    panel = {"title": ATTACK, "image": an_image(ATTACK)}
    key = {"label": ATTACK, "colour": '"><script>', "mark": "line"}
    blocks = [
        page.text(ATTACK),
        page.code(ATTACK),
        page.terms({ATTACK: ATTACK}),
        page.table(ATTACK, [ATTACK], [[ATTACK]], notes=[ATTACK]),
        page.table("c", ["a", "b"], [["a", ATTACK + " ± " + ATTACK]]),
        page.figure(ATTACK, [panel], legend=[key], across=ATTACK, up=ATTACK),
    ]
    everywhere = dict.fromkeys(("title", "kicker", "lead", "footer"), ATTACK)
    sections = [{"title": ATTACK, "blocks": blocks}]
    html = report.render(a_page(**everywhere, facts=[(ATTACK, ATTACK)], sections=sections))
    assert "script" not in {tag for tag, _ in Tags(html).tags}
    assert html.count("&lt;script&gt;alert") >= 18


def test_page_without_figures_and_tables_is_a_page():
    html = report.render(a_page())
    assert html.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_unknown_kind_of_block_is_an_error():
    sections = [{"title": "t", "blocks": [{"kind": "sound"}]}]
    with pytest.raises(Exception, match="sound"):
        report.render(a_page(sections=sections))


def test_a_drawing_that_would_be_large_becomes_a_picture(monkeypatch):
    assert an_image()["src"].startswith("data:image/svg+xml")
    monkeypatch.setattr(figures, "LARGEST_SVG", 0)
    assert an_image()["src"].startswith("data:image/png")


def test_scatter_shows_every_cell():
    rng = np.random.default_rng(0)
    truth, imputed = rng.normal(size=(2, 50))
    (axes,) = figures.scatter(truth, imputed, limits=(-3, 3)).axes
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.stack([truth, imputed], 1))
    assert axes.get_xlim() == axes.get_ylim() == (-3, 3)


def test_dot_chart_shows_mean_seeds_and_published_value():
    lines = [figures.Dots("a", [1.0, 2.0], "red", published=3.0), figures.Dots("b", [4.0], "red")]
    (axes,) = figures.dot_chart(lines, "error").axes
    shown = {tuple(np.atleast_1d(line.get_xdata())) for line in axes.lines}
    assert {(1.0, 2.0), (1.5,), (3.0,), (4.0,)} <= shown
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_training_curves_mark_the_weights_that_were_kept():
    history = {
        "step": [10, 20, 30],
        "bound": [-3.0, -2.0, -1.0],
        "validation_bound": [-3.0, -2.5, -2.8],
        "best_step": 20,
    }
    (axes,) = figures.training_curves([history]).axes
    ends = [tuple(np.atleast_1d(data)[-1] for data in line.get_data()) for line in axes.lines]
    assert ends == [(30, -1.0), (30, -2.8), (20, -2.5)]


def test_training_curves_without_held_out_rows():
    history = {"step": [10], "bound": [-3.0], "validation_bound": [], "best_step": 10}
    (axes,) = figures.training_curves([history]).axes
    assert len(axes.lines) == 1


def test_probability_curves_keep_colours_and_dashes():
    curves = [figures.Curve([0, 1], "#0072b2"), figures.Curve([1, 0], "#d55e00", dashed=True)]
    (axes,) = figures.probability_curves([-1, 1], curves).axes
    assert [line.get_color() for line in axes.lines] == ["#0072b2", "#d55e00"]
    assert [line.is_dashed() for line in axes.lines] == [False, True]


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    an_image()
    assert dict(matplotlib.rcParams) == before
