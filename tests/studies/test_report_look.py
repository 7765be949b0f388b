"""How a report looks: colours that can be told apart, labels that do, captions that say what is drawn."""

import itertools

import numpy as np
import pytest
from played_results import lite, played
from study_cells import small_study

from mast.config import METHODS
from mast.studies.groups import groups_of, panels_of
from mast.studies.report import curves, figures
from mast.studies.report.page import page
from mast.studies.report.style import COLOURS, SHARED, spread, styles_of
from mast.studies.report.tables import score_said
from mast.studies.report.text_tables import latex, text_tables


def linear(colour: str) -> np.ndarray:
    """A colour as linear RGB."""
    parts = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear RGB under D65."""
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Machado, Oliveira and Fernandes 2009, at full severity, on linear RGB.
SIGHTS = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_methods_have_colours_far_apart(sight: str) -> None:
    def distance(first: str, second: str) -> float:
        seen = [lab(np.array(SIGHTS[sight]) @ linear(COLOURS[name])) for name in (first, second)]
        return float(np.linalg.norm(seen[0] - seen[1]))

    assert set(COLOURS) == set(METHODS)
    table1 = ("dense", "tiny", "ss", "set", "rigl", "rlx2", "mast")
    assert min(distance(*pair) for pair in itertools.combinations(table1, 2)) > 25
    assert min(distance(*pair) for pair in itertools.combinations(COLOURS, 2)) > 15


def test_colours_can_be_read_on_white() -> None:
    for name, colour in COLOURS.items():
        luminance = linear(colour) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 3, name  # WCAG's contrast for graphics


def test_a_method_has_one_colour_and_its_arms_differ_otherwise() -> None:
    study, results = lite()
    groups = panels_of(study, results)[0].groups
    styles = styles_of(groups)
    assert {styles[group.label].colour for group in groups} == {COLOURS[g.method] for g in groups}
    sweep = small_study(seeds=1, cells=[{"method": "mast", "td_lambda": [0, 0.2, 0.4, 0.6]}])
    arms = list(styles_of(groups_of(sweep, [])).values())
    assert {style.colour for style in arms} == {COLOURS["mast"]}
    assert len({style.dashes for style in arms}) == 4


def test_labels_are_moved_apart_as_little_as_possible() -> None:
    np.testing.assert_allclose(spread([5.0, 0.0, 0.1, 9.0], 1.0), [5.0, -0.45, 0.55, 9.0])
    np.testing.assert_allclose(spread([1.0, 1.0, 1.0], 2.0), [-1.0, 1.0, 3.0])
    assert len(spread([], 1.0)) == 0


def test_dollars_in_an_arms_name_are_no_formula() -> None:
    arms = [{"name": "$x^{", "td_lambda": 0.1}, {"name": r"a $\alpha$ b$", "td_lambda": 0.2}]
    study = small_study(cells=[{"method": "mast", "arms": arms}, {"method": "dense"}])
    results = played(study, {"mast": (0.4, 0.5), "dense": (0.5, 0.6)}, "dollars")
    text = page(study, results)
    assert "<h2>qmix on smax/3m</h2>" in text
    for table in text_tables(study, panels_of(study, results)):
        assert r"a \$\textbackslash{}alpha\$ b\$" in latex(study, [table])


def test_many_groups_have_axes_of_their_own() -> None:
    study = small_study()
    [panel] = panels_of(study, played(study, {"dense": (0.5, 0.6), "mast": (0.4, 0.3)}, "few"))
    few = curves.learning_curves(panel)
    assert len(few.figure.axes) == 1
    knobs = [0.1 * k for k in range(SHARED + 1)]
    sweep = small_study(seeds=1, cells=[{"method": "mast", "td_lambda": knobs}])
    [panel] = panels_of(sweep, played(sweep, {"dense": (0.5,), "mast": (0.4,)}, "sweep"))
    many = curves.learning_curves(panel)
    axes = many.figure.axes
    assert [each.get_title(loc="left") for each in axes] == [g.label for g in panel.groups]
    # Its own curve, the others behind it.
    assert all(len(each.lines) == len(panel.groups) for each in axes)
    assert "Grey: the means of the others" in many.caption


def test_captions_say_what_is_there() -> None:
    study = small_study()
    [panel] = panels_of(study, played(study, {"dense": (0.5, 0.6), "mast": (0.4, 0.3)}, "two"))
    two = curves.learning_curves(panel)
    assert two.caption == (
        "Greedy win rate at each evaluation (5 of them). Mean over seeds, thick, and each seed, thin."
    )
    assert not two.figure.axes[0].collections  # no band
    assert len(two.figure.axes[0].lines) == 2 * (2 + 1)
    three = small_study(seeds=3)
    scores = {"dense": (0.5, 0.6, 0.7), "mast": (0.4, 0.3, 0.2)}
    [panel] = panels_of(three, played(three, scores, "three"))
    assert "95 % bootstrap band" in curves.learning_curves(panel).caption
    assert len(curves.learning_curves(panel).figure.axes[0].collections) == 2
    cost = figures.pareto(panel)
    assert cost is not None
    assert "grey line" in cost.caption
    assert score_said(panel) == "its 5 evaluations"
    worse = {"dense": (0.1, 0.1, 0.1), "mast": (0.4, 0.3, 0.2)}
    [panel] = panels_of(three, played(three, worse, "worse"))
    cost = figures.pareto(panel)
    assert cost is not None
    assert "grey line" not in cost.caption  # the sparse ones beat dense at any cost
    text = page(three, played(three, scores, "three"))
    assert "all maps" not in text
    assert "All runs of qmix on smax/3m" in text
