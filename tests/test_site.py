"""The site builds without a network, is read without one, and has every page and every public name."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import browser
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import dode

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "website"))
import api  # noqa: E402
import assemble  # noqa: E402

OFFLINE = ["unshare", "--net", "--map-root-user"]  # a process without a network
SHOWN = ("index.html", "results.html", "api/index.html")


def built(folder):
    """The site's first page."""
    words = [sys.executable, str(ROOT / "website/assemble.py"), str(folder)]
    able = subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*(OFFLINE if able else []), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_is_whole_and_asks_nobody(tmp_path):
    site = built(tmp_path / "made")
    pages = {page.relative_to(site).as_posix(): page.read_text() for page in site.rglob("*.html") if page.stem != "404"}
    assert {"start.html", "choosing.html", "api/distillation.html", "comfyui.html", "examples.html"} <= pages.keys()
    for name, text in pages.items():
        loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', text)
        assert not [address for address in loaded if "//" in address], name
        assert "no-run" not in text
        assert "results: " not in text
        for address in re.findall(r'href="([^"#]+)', text):
            if not address.startswith("http"):
                assert ((site / name).parent / address).exists(), f"{name}: {address}"
    driver = browser.opened()
    try:
        for width, dark in ((1280, False), (400, True)):
            for name in SHOWN:
                browser.show(driver, site / name, width, dark)
                assert [one for one in browser.requests(driver) if not one.startswith("file:")] == []
                assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
        search(driver, site / "calibration.html", "ridge")
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def search(driver, page, word):
    """Wait until the search of a page shows where a word is; a timeout is a failure."""
    browser.show(driver, page)
    driver.find_element(By.CSS_SELECTOR, ".md-search__button").click()
    wait = WebDriverWait(driver, 20)
    hosts = "return [...document.querySelectorAll('body > div, [style]')].find(one => one.shadowRoot)"
    root = wait.until(lambda driver: driver.execute_script(hosts)).shadow_root
    root.find_element(By.CSS_SELECTOR, "input").send_keys(word)
    shown = "return arguments[0].querySelector('ol, [role=listbox]')?.textContent ?? ''"
    wait.until(lambda driver: word in driver.execute_script(shown, root))


def test_a_page_without_a_place_is_named():
    with pytest.raises(SystemExit, match=r"leaves out new\.md: give each a line"):
        assemble.fit({page for _, page in assemble.titled(assemble.settings()["nav"])} | {"new.md"}, set())
    with pytest.raises(SystemExit, match=r"names start\.md"):
        assemble.fit({page for _, page in assemble.titled(assemble.settings()["nav"])} - {"start.md"}, set())


def test_every_page_of_docs_has_a_place():
    assemble.fit({*assemble.sources().values(), "examples.md"}, {"api/index.md"})


FUNCTIONS = [name for name in dode.__all__ if inspect.isfunction(getattr(dode, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained(name):
    function = getattr(dode, name)
    missing = [one for one in inspect.signature(function).parameters if not re.search(rf"\b{one}\b", function.__doc__)]
    assert not missing


@pytest.mark.parametrize("name", [name for name in dode.__all__ if inspect.ismodule(getattr(dode, name))])
def test_every_public_name_says_what_it_is(name):
    for member, one in api.members(getattr(dode, name)).items():
        assert (one.__doc__ or "").strip(), member


def test_what_raises_says_so():
    """Every public function and method that refuses something itself has a word of it in its docstring."""
    modules = [getattr(dode, name) for name in dode.__all__ if inspect.ismodule(getattr(dode, name))]
    modules += [import_module(f"dode.{name}") for name in api.EDGES]
    for module in modules:
        for name, one in api.members(module).items():
            for function in [one] if inspect.isfunction(one) else api.public_methods(one).values():
                source = inspect.getsource(inspect.unwrap(function))
                said = re.search("ValueError|an error", function.__doc__)
                assert said or "raise ValueError" not in source, f"{name}: {function}"


def test_signatures_and_prose_come_out_as_written():
    written = "load(path: str | Path | calibration.Json, model: Model, nfe: int | None=None) -> Sampler"
    assert api.signature(dode.load, "load") == [written]
    assert any(re.match(r"    mix: Array  # \(N, 1 \+ N\)", line) for line in api.fields(dode.Plan, "Plan"))
    assert api.escaped("x_T (n, *shape), `a_b`:\n    a*b") == "x\\_T (n, \\*shape), `a_b`:\n\n    a*b"
