"""The page of `mast watch` in a real browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mast.watching.page import write_page
from watching.battles import ABOUT, battle, crowd
from watching.chromium import BROWSER, Chromium

needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium on this machine")
SECOND_CARD = "document.querySelectorAll('.agent')[1].textContent"
UNIT = "document.querySelector('[data-unit=ally_0] circle').getAttribute('cx')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    path = tmp_path_factory.mktemp("page") / "team.html"
    write_page(path, ABOUT, [battle(4), battle(7, "lost", mixed=False, seed=1)])
    browser = Chromium(path)
    yield browser
    browser.close()


def slide(page: Chromium, step: int) -> None:
    page.run(f"$('slider').value = {step}; $('slider').dispatchEvent(new Event('input'))")


@needs_browser
def test_it_loads_whole_without_a_complaint(page: Chromium) -> None:
    assert page.run("document.title") == f"Mast: {ABOUT['environment']}"
    assert page.run("$('title').textContent") == ABOUT["environment"]
    assert "95 % sparse" in page.run("$('policy').textContent")
    tabs = page.run("[...document.querySelectorAll('#episodes button')].map(b => b.textContent)")
    assert tabs == ["1 won · 4 steps · return 4.00", "2 lost · 7 steps · return 7.00"]
    assert page.run("document.querySelectorAll('#agents .agent').length") == 2
    assert page.run("document.querySelectorAll('#map [data-unit]').length") == 3
    assert page.screenshot()[:4] == b"\x89PNG"
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


@needs_browser
def test_the_slider_moves_the_frame(page: Chromium) -> None:
    shown = battle(4)
    slide(page, 0)
    first = page.run("$('map').innerHTML"), page.run(UNIT), page.run("$('cursor').innerHTML")
    assert "–" in page.run("document.querySelector('.q.never').textContent")
    slide(page, 2)
    assert page.run("$('moment').textContent") == "step 2 of 4"
    assert page.run("$('map').innerHTML") != first[0]
    assert float(page.run(UNIT)) > float(first[1])
    assert page.run("$('cursor').innerHTML") != first[2]
    assert ABOUT["actions"][shown.action[2, 1]].replace("_", " ") in page.run(SECOND_CARD)
    assert f"{shown.q[2, 1, 0]:.2f}" in page.run(SECOND_CARD)
    assert "50 %" in page.run(SECOND_CARD)
    assert "Q_tot 5.00" in page.run("$('legend').textContent")
    slide(page, 4)
    assert "won" in page.run("$('map').textContent")
    assert "dead" in page.run(SECOND_CARD)
    assert page.complaints == []


@needs_browser
def test_keys_choose_step_and_episode(page: Chromium) -> None:
    page.run("choose(0)")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("ArrowLeft")
    assert page.run("$('moment').textContent") == "step 1 of 4"
    page.press("ArrowDown")
    assert page.run("$('moment').textContent") == "step 0 of 7"
    assert "Q_tot is not known" in page.run("$('note').textContent")
    page.press("End")
    assert page.run("$('slider').value") == "7"
    page.run("$('play').click()")
    assert page.run("$('play').textContent") == "Pause"
    page.run("$('play').click()")
    assert page.run("$('play').textContent") == "Play"
    assert page.complaints == []


@needs_browser
def test_the_battle_fills_the_field(page: Chromium) -> None:
    page.run("choose(0)")
    for step in (0, 2):
        slide(page, step)
        box = "$('map').viewBox.baseVal"
        places = page.run(
            "[...document.querySelectorAll('#map circle')].map(c => +c.getAttribute('cx'))"
        )
        width = page.run(f"{box}.width")
        assert max(places) - min(places) > 0.6 * width
        assert min(places) > 0
        assert max(places) < width


@needs_browser
def test_a_large_team_has_small_cards_that_open(tmp_path: Path) -> None:
    path = tmp_path / "team.html"
    team = {"agents": [f"ally_{k}" for k in range(27)], "kinds": ["marine"] * 27}
    write_page(path, ABOUT | team | {"actions": ["stop", "move_north", "east"]}, [crowd(27)])
    browser = Chromium(path)
    try:
        cards = "document.querySelectorAll('#agents .agent')"
        assert browser.run(f"{cards}.length") == 27
        assert browser.run("$('agents').getBoundingClientRect().height") < 700
        assert browser.run("document.querySelectorAll('.qs').length") == 0
        assert "move north" in browser.run(f"{cards}[3].textContent")
        browser.run(f"{cards}[3].click()")
        assert browser.run("document.querySelectorAll('.qs').length") == 1
        assert browser.complaints == []
    finally:
        browser.close()


@needs_browser
def test_heals_beams_and_who_flies_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "team.html"
    shown = battle(3)
    assert shown.scene is not None
    health = shown.scene.health
    assert health is not None
    health[:, 0] = [0.5, 0.6, 0.6, 0.6]
    # ally_1, in the air, heals ally_0, which fires a beam at the enemy from straight below it.
    target = np.array([[2, 0], [-1, -1], [-1, -1]])
    position = shown.scene.position.copy()
    position[:, 2] = position[:, 0] + [0.0, 4.0]
    scene = replace(
        shown.scene,
        target=target,
        position=position,
        flies=(False, True, False),
        beam=(2.0, 0.0, 0.0),
    )
    names = [["stop", "east", "attack_enemy_0"], ["stop", "east", "heal_ally_0"]]
    shown.action[0] = [2, 2]
    write_page(path, ABOUT | {"agent_actions": names}, [replace(shown, scene=scene)])
    browser = Chromium(path)
    try:
        count = "document.querySelectorAll('#map [data-{}]').length"
        drawn = [browser.run(count.format(each)) for each in ("heals", "beam", "flies", "healed")]
        assert drawn == [1, 1, 1, 1]
        beam = browser.run("document.querySelector('[data-beam]').getBBox()['height']")
        assert abs(beam) < 0.01  # it lies across a shot straight up
        assert "heal ally 0" in browser.run(SECOND_CARD)
        key = browser.run("$('key').textContent")
        assert all(word in key for word in ("heals", "gains health", "flies", "beam"))
        slide(browser, 1)
        assert [browser.run(count.format(each)) for each in ("heals", "beam", "healed")] == [
            0,
            0,
            0,
        ]
        assert browser.complaints == []
    finally:
        browser.close()


@needs_browser
def test_without_a_scene_there_is_no_map(tmp_path: Path) -> None:
    path = tmp_path / "team.html"
    write_page(path, ABOUT, [battle(3, staged=False)])
    browser = Chromium(path)
    try:
        assert browser.run("getComputedStyle($('map')).display") == "none"
        assert browser.run("document.querySelectorAll('#agents .agent').length") == 2
        assert browser.complaints == []
    finally:
        browser.close()


def test_the_data_cannot_end_the_script(tmp_path: Path) -> None:
    path = tmp_path / "team.html"
    write_page(path, ABOUT, [battle(3)])
    text = path.read_text()
    assert text.count("</script>") == 2
    assert "http://www.w3.org/2000/svg" in text  # a name, the only address
    assert text.count("://") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["team.html"]


@needs_browser
def test_units_have_their_labels_and_those_that_are_gone_are_not_drawn(tmp_path: Path) -> None:
    shown = battle(4)
    assert shown.scene is not None
    present = np.ones((5, 3), bool)
    present[2:, 2] = False
    scene = replace(
        shown.scene,
        names=("ally_0", "ally_1", "food_0"),
        side=(0, 0, 2),
        health=None,
        labels=("7", "8", "9"),
        present=present,
        cells=(5, 4),
    )
    path = tmp_path / "team.html"
    write_page(path, ABOUT, [replace(shown, scene=scene)])
    page = Chromium(path)
    try:
        labels = "[...document.querySelectorAll('#map [data-unit] text')].map(t => t.textContent)"
        assert page.run(labels) == ["7", "8", "9"]
        assert page.run("document.querySelectorAll('#map > g > path').length") == 4 + 3
        assert page.run("$('key').textContent") == "teamfoodgoes in this stepaims at"
        slide(page, 1)
        ring = "document.querySelectorAll('[data-unit=food_0] circle').length"
        assert page.run(ring) == 2
        slide(page, 2)
        assert page.run(labels) == ["7", "8"]
        assert page.complaints == []
    finally:
        page.close()
