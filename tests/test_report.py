"""The report as a reader has it: in a browser, with its numbers and pictures the ones that were measured."""

import base64
import json
import math
import re
from dataclasses import replace
from io import BytesIO

import browser
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import dode
from dode import report
from dode.metrics import METRICS, Estimate, evaluation, to_uint8
from dode.metrics.evaluation import Settings

NAMES = ["ddim", "d-ddim", "d-ddim:formulation=fixed:lam=0.5", "edm"]
COUNTS = [3, 5, 8]
SEED = 3
BESIDE = [name for name in METRICS if name != "rms"]


def silent(done, total):
    """No bar in tests."""


@pytest.fixture(scope="module")
def compared():
    """Rows, samplers and exact solutions of a small comparison with Fréchet distances."""
    model = dode.bundled("fashion-mixture")
    fitted = dode.distill(model, NAMES[1:3], nfe=COUNTS, samples=8, scale=4)
    samplers = [
        fitted[name][nfe] if name in fitted else dode.sampler(model, name, nfe=nfe) for name in NAMES for nfe in COUNTS
    ]
    settings = Settings(12, fd=40, seed=SEED, metrics=(*METRICS,))
    exact = evaluation.exact_ends(model, settings, silent)
    return evaluation.measured(samplers, exact, settings, silent), samplers, exact


@pytest.fixture(scope="module")
def pages(compared, tmp_path_factory):
    """The report, and the same without Fréchet distances."""
    rows, samplers, _ = compared
    folder = tmp_path_factory.mktemp("report")
    report.write(folder / "whole.html", rows, samplers, command="dode compare --nfe '3,5'")
    bare = [replace(row, estimates={"rms": row["rms"]}, samples=0, reference="") for row in rows]
    report.write(folder / "bare.html", bare, samplers)
    return folder


@pytest.fixture(scope="module")
def driver():
    made = browser.opened()
    yield made
    made.quit()


@pytest.fixture
def page(driver, pages):
    """The report on a desktop, light, just opened; it must not complain whatever a test does with it."""
    browser.complaints(driver)
    browser.show(driver, pages / "whole.html")
    yield driver
    assert browser.complaints(driver) == []


def chip(page, name):
    return page.find_element(By.CSS_SELECTOR, f'.chip[data-method="{name}"]')


def pictures(page, name):
    """The pictures of a row as their addresses."""
    return [
        image.get_attribute("src")
        for image in page.find_elements(By.CSS_SELECTOR, f'[data-run="{name}"] img:not(.over)')
    ]


def lines(page, chart):
    return [
        one.get_attribute("data-line") for one in page.find_elements(By.CSS_SELECTOR, f"#chart-{chart} g[data-line]")
    ]


def decoded(address):
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_page_asks_for_nothing_and_complains_of_nothing(driver, pages):
    browser.requests(driver)
    browser.show(driver, pages / "whole.html")
    assert browser.requests(driver) == [(pages / "whole.html").as_uri()]  # so requests are seen at all
    assert browser.complaints(driver) == []
    driver.execute_script("console.error('seen'); new Image().src = 'http://localhost:9/x.png'")
    said = browser.complaints(driver)
    assert any("seen" in one for one in said)  # so complaints are seen at all
    assert any("Content Security Policy" in one for one in said)  # and the page could not ask if it wanted to


def test_the_file_names_no_other(pages):
    text = (pages / "whole.html").read_text()
    assert set(re.findall(r"\w+://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}  # the name of a format
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:)", text)


def test_the_slider_changes_the_pictures_to_those_of_the_sampler(page, compared):
    _, samplers, exact = compared
    slider = page.find_element(By.ID, "nfe")
    slider.send_keys(Keys.HOME)
    for nfe in COUNTS:
        assert page.find_element(By.ID, "count").text == str(nfe)
        for name in NAMES:
            (one,) = [s for s in samplers if (s.name, s.nfe) == (name, nfe)]
            x_T = one.model.start(range(10), SEED)
            wanted = to_uint8(one.sample(noise=x_T)).numpy()[:, 0]
            shown = np.array([decoded(address) for address in pictures(page, name)])
            assert np.abs(shown.astype(int) - wanted).max() <= 1  # other batches differ in the last bits
        shown = np.array([decoded(address) for address in pictures(page, "exact")])
        assert np.abs(shown.astype(int) - to_uint8(exact[:10]).numpy()[:, 0]).max() <= 2  # solved to 2e-3 alone
        slider.send_keys(Keys.ARROW_RIGHT)


def test_a_method_is_chosen_in_the_wall_and_in_every_figure(page):
    charts = ("rms", "fd", "lambda", "norm", "pixels")
    assert lines(page, "rms") == NAMES
    assert lines(page, "lambda") == NAMES[1:3]
    assert lines(page, "norm") == ["exact", *NAMES]
    assert len(pictures(page, "d-ddim")) == 10
    chip(page, "d-ddim").click()
    assert chip(page, "d-ddim").get_attribute("aria-pressed") == "false"
    assert not any("d-ddim" in lines(page, chart) for chart in charts)
    assert pictures(page, "d-ddim") == []
    assert len(pictures(page, "ddim")) == 10
    chip(page, "d-ddim").click()
    assert all("d-ddim" in lines(page, chart) for chart in charts)
    for name in NAMES:  # none at all is no fault
        chip(page, name).click()
    assert lines(page, "rms") == []
    assert len(pictures(page, "exact")) == 10


def test_points_stand_where_their_numbers_say(page, compared):
    rows = compared[0]
    for key in ("rms", "fd"):
        places, logs = [], []
        for name in NAMES:
            marks = page.find_elements(By.CSS_SELECTOR, f'#chart-{key} g[data-line="{name}"] .marker')
            places += [float(mark.get_attribute("transform").rstrip(")").split(",")[1]) for mark in marks]
            logs += [math.log10(row[key].value) for row in rows if row.solver == name]
        slope, offset = np.polyfit(logs, places, 1)
        assert slope < 0  # farther is higher up
        assert np.abs(np.polyval([slope, offset], logs) - places).max() < 1e-6
    assert len(page.find_elements(By.CSS_SELECTOR, "#chart-rms .bar")) == len(rows)


def test_every_figure_that_was_measured_has_a_chart_and_columns(page):
    charts = [one.get_attribute("id") for one in page.find_elements(By.CSS_SELECTOR, "#curves .chart")]
    assert charts == ["chart-rms", *(f"chart-{name}" for name in BESIDE)]
    assert all(lines(page, name) == NAMES for name in BESIDE)
    heads = [one.text for one in page.find_elements(By.CSS_SELECTOR, "thead th")]
    assert heads[6::3] == ["FD", "KID", "precision", "recall", "agreement"]
    assert len(page.find_elements(By.CSS_SELECTOR, "tbody i")) >= len(NAMES) * len(COUNTS) * 2  # ± of RMS and FD


def test_lambdas_have_bands_where_errors_are_known(page):
    found = page.find_elements(By.CSS_SELECTOR, "#chart-lambda g[data-line]")
    bands = {one.get_attribute("data-line"): len(one.find_elements(By.CSS_SELECTOR, ".band")) for one in found}
    assert bands["d-ddim"] == 1


def test_the_readout_says_the_numbers(page, compared):
    chart = page.find_element(By.ID, "chart-rms")
    box = chart.find_element(By.CSS_SELECTOR, ".readout")
    assert not box.is_displayed()
    chart.send_keys(Keys.ARROW_RIGHT)
    said = box.text.splitlines()
    rows = sorted((row for row in compared[0] if row.nfe == COUNTS[0]), key=lambda row: row.rms)
    assert said[0] == f"{COUNTS[0]} evaluations"
    assert said[1::2] == [row.solver for row in rows]
    values = [float(text.split(" ± ")[0]) for text in said[2::2]]
    assert values == pytest.approx([row.rms for row in rows], rel=5e-3)  # three digits
    chart.send_keys(Keys.ARROW_RIGHT)
    assert box.text.startswith(f"{COUNTS[1]} evaluations")
    page.execute_script(
        "const r = arguments[0].getBoundingClientRect(); arguments[0].dispatchEvent(new PointerEvent('pointermove',"
        "{clientX: r.right - 20, clientY: r.top + 80, bubbles: true}))",
        chart,
    )
    assert box.text.startswith(f"{COUNTS[-1]} evaluations")


def test_a_chosen_picture_is_followed(page):
    def path():
        return page.find_element(By.CSS_SELECTOR, '#chart-pixels g[data-line="exact"] path').get_attribute("d")

    before = path()
    page.find_elements(By.CSS_SELECTOR, '[data-run="ddim"] .cell')[4].click()
    assert path() != before
    chosen = page.find_elements(By.CSS_SELECTOR, ".cell.chosen")
    assert len(chosen) == 1 + len(NAMES)
    assert chosen[0].get_attribute("aria-label") == "exact, noise 5"


def test_differences_lie_over_the_exact_pictures(page):
    page.find_element(By.ID, "difference").click()
    over = page.find_elements(By.CSS_SELECTOR, '[data-run="edm"] .over')
    assert [one.get_attribute("src") for one in over] == pictures(page, "exact")
    assert over[0].value_of_css_property("mix-blend-mode") == "difference"


def test_light_and_dark_are_different_and_can_be_chosen(driver, pages):
    def paper():
        return driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")

    browser.show(driver, pages / "whole.html", dark=False)
    light = paper()
    browser.show(driver, pages / "whole.html", dark=True)
    dark = paper()
    assert light != dark
    driver.find_element(By.ID, "theme").click()
    assert paper() == light
    driver.find_element(By.ID, "theme").click()
    assert paper() == dark


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_page_and_no_labels_overlap(driver, pages, width):
    browser.show(driver, pages / "whole.html", width=width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    overlaps = driver.execute_script("""
        return [...document.querySelectorAll(".chart svg")].flatMap((svg) => {
          const texts = [...svg.querySelectorAll("text")];
          const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
          return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)
            .filter(([, q]) => p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom)
            .map(([b]) => `${a} and ${b}`));
        });
    """)
    assert overlaps == []
    for chart in driver.find_elements(By.CLASS_NAME, "chart"):
        chart.send_keys(Keys.ARROW_RIGHT)
        values = chart.find_elements(By.CSS_SELECTOR, ".readout .value")
        assert values, chart.get_attribute("id")
        assert all(one.rect["x"] >= 0 and one.rect["x"] + one.rect["width"] <= width for one in values)
    shown = [one for one in driver.find_elements(By.CSS_SELECTOR, '[data-run="ddim"] .cell') if one.is_displayed()]
    assert len(shown) == (5 if width == 390 else 10)
    assert shown[0].size["width"] >= 40


def test_without_frechet_distances_the_page_does_not_speak_of_them(driver, pages):
    browser.show(driver, pages / "bare.html")
    assert driver.find_elements(By.ID, "figure-fd") == []
    said = driver.find_element(By.TAG_NAME, "body").text
    assert "Fréchet" not in said
    assert "FD" not in said
    browser.show(driver, pages / "whole.html")
    assert len(driver.find_elements(By.ID, "figure-fd")) == 1


def test_the_table_has_every_row(page, compared):
    found = page.find_elements(By.CSS_SELECTOR, "tbody tr")
    said = [(one.find_element(By.TAG_NAME, "th").text, one.find_element(By.TAG_NAME, "td").text) for one in found]
    assert said == [(name, str(nfe)) for nfe in COUNTS for name in NAMES]
    medians = [float(one.find_elements(By.TAG_NAME, "td")[2].text) for one in found]
    assert medians == pytest.approx([r.median for r in sorted(compared[0], key=lambda r: r.nfe)], rel=5e-3)


def test_settings_are_said(pages):
    text = (pages / "whole.html").read_text()
    for words in (
        "fashion-mixture",
        "12 samples of test noise, seed 3",
        "40 samples of test noise",
        dode.__version__,
    ):
        assert words in text
    assert "dode compare --nfe &#x27;3,5&#x27;" in text


def test_names_are_text_whatever_they_hold(compared, driver, tmp_path):
    rows, samplers, _ = compared
    odd = '</script><script>console.error("run")</script> & "x" $title'
    model = replace(samplers[0].model, name=odd)
    report.write(tmp_path / "odd.html", rows, [replace(one, model=model) for one in samplers])
    browser.complaints(driver)
    browser.show(driver, tmp_path / "odd.html")
    assert browser.complaints(driver) == []
    assert driver.find_element(By.CSS_SELECTOR, ".eyebrow").text.endswith(odd)


def test_samples_that_are_no_pictures_have_no_wall(driver, tmp_path):
    model = dode.from_callable(
        lambda x, t: x / (1 + t.reshape(-1, 1) ** 2), schedule=dode.schedule.EDM(), prediction="data", shape=(2,)
    )
    samplers = [dode.sampler(model, "ddim", nfe=nfe) for nfe in (3, 6)]
    settings = Settings(4)
    exact = evaluation.exact_ends(model, settings, silent)
    report.write(tmp_path / "points.html", evaluation.measured(samplers, exact, settings, silent), samplers)
    browser.complaints(driver)
    browser.show(driver, tmp_path / "points.html")
    assert browser.complaints(driver) == []
    assert driver.find_elements(By.ID, "wall") == []
    assert driver.find_elements(By.ID, "figure-lambda") == []  # nothing was fitted
    assert lines(driver, "pixels") == ["exact", "ddim"]


def test_what_does_not_belong_together_is_refused_and_nothing_written(compared, tmp_path):
    rows, samplers, _ = compared
    path = tmp_path / "page.html"
    other = replace(samplers[0], model=samplers[0].model.declared(2.0))
    for given, says in (
        ((rows[1:], samplers), "the sampler of each of its 11 rows"),
        ((rows, samplers[::-1]), "in their order"),
        (([rows[0], *rows], samplers), "ddim at 3 is there more than once"),
        (([], []), "there are none"),
        (([replace(rows[0], estimates={}), *rows[1:]], samplers), "measure ddim at 3 with paired samples"),
        ((rows, [other, *samplers[1:]]), "one model under one guidance"),
        (([replace(rows[0], seeds=(9,)), *rows[1:]], samplers), "the same seeds"),
    ):
        with pytest.raises(ValueError, match=says):
            report.write(path, *given)
    with pytest.raises(ValueError, match="at least 2 samples"):
        report.write(path, rows, samplers, columns=1)
    with pytest.raises(ValueError, match="does not exist"):
        report.write(tmp_path / "no" / "page.html", rows, samplers)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_are_null(compared, pages, tmp_path, driver):
    rows, samplers, _ = compared
    endless = [replace(rows[0], estimates={"rms": Estimate(math.inf, each=rows[0].each)}), *rows[1:]]
    report.write(tmp_path / "endless.html", endless, samplers)
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', (tmp_path / "endless.html").read_text())[1])
    assert data["rows"][0]["rms"] is None
    browser.complaints(driver)
    browser.show(driver, tmp_path / "endless.html")
    assert browser.complaints(driver) == []
