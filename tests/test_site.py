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
import assemble  # noqa: E402

OFFLINE = ["unshare", "--net", "--map-root-user"]  # a process without a network
SHOWN = ("index.html", "results.html", "api/index.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built without a network."""
    folder = tmp_path_factory.mktemp("website")
    command = [sys.executable, str(ROOT / "website/assemble.py"), str(folder)]
    can_unshare = subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*(OFFLINE if can_unshare else []), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_is_whole_and_asks_nobody(site):
    pages = {page.relative_to(site).as_posix(): page.read_text() for page in site.rglob("*.html") if page.stem != "404"}
    assert {"start.html", "choosing.html", "api/distillation.fit.html", "comfyui.html", "examples.html"} <= pages.keys()
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
                assert [url for url in browser.requests(driver) if not url.startswith("file:")] == []
                assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
        search(driver, site / "calibration.html", "ridge")
        search(driver, site / "api/plan.html", "DODEScheduler")
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def search(driver, page, word):
    """Wait until the search of a page shows a result with this word; a timeout is a failure."""
    browser.show(driver, page)
    driver.find_element(By.CSS_SELECTOR, ".md-search__button").click()
    wait = WebDriverWait(driver, 20)
    hosts = "return [...document.querySelectorAll('body > div, [style]')].find(element => element.shadowRoot)"
    root = wait.until(lambda driver: driver.execute_script(hosts)).shadow_root
    field = root.find_element(By.CSS_SELECTOR, "input")
    results = "return arguments[0].querySelector('ol, [role=listbox]')?.textContent ?? ''"
    for half in (word[:3], word[3:]):  # a query that is typed slowly stays in the field
        field.send_keys(half)
        wait.until(lambda driver: driver.execute_script(results, root))
    assert field.get_attribute("value") == word
    wait.until(lambda driver: word in driver.execute_script(results, root))


def test_a_page_without_a_place_is_named():
    with pytest.raises(SystemExit, match=r"leaves out new\.md: give each a line"):
        assemble.check_nav({page for _, page in assemble.titled(assemble.settings()["nav"])} | {"new.md"})
    with pytest.raises(SystemExit, match=r"names start\.md"):
        assemble.check_nav({page for _, page in assemble.titled(assemble.settings()["nav"])} - {"start.md"})


def test_every_page_of_docs_has_a_place():
    assemble.check_nav({*assemble.sources().values(), "examples.md"})


def test_the_reference_shows_every_public_name(site):
    """mkdocstrings gives each name an anchor; a name without a docstring gets none."""
    pages = {name: (site / f"api/{name}.html").read_text() for name in ("index", *assemble.MODULES)}
    for name in dode.__all__:
        assert inspect.ismodule(getattr(dode, name)) or f'id="dode.{name}"' in pages["index"], name
    for name in assemble.MODULES:
        for member in members(import_module(f"dode.{name}")):
            path = f"dode.{name}.{member}"  # or of a function in a file of its own name, that of the file
            assert f'id="{path}"' in pages[name] or f'id="{path}.{member}"' in pages[name], path


def test_the_reference_has_every_public_module():
    modules = {name for name in dode.__all__ if inspect.ismodule(getattr(dode, name))}
    assert modules - {"integrations"} <= set(assemble.MODULES)  # which has no names of its own


def members(module):
    """The public functions and classes of a module by name, those that it imports only if they are in its `__all__`."""
    names = getattr(module, "__all__", None) or [
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", None) == module.__name__
    ]
    public = {name: getattr(module, name) for name in names}
    return {
        name: member
        for name, member in public.items()
        if (inspect.isfunction(member) or inspect.isclass(member)) and member.__module__.startswith("dode")
    }


def functions(member):
    """A function itself; of a class the methods and properties that it defines."""
    if inspect.isfunction(member):
        return [member]
    defined = [vars(member)[name] for name in vars(member) if not name.startswith("_")]
    unwrapped = [getattr(f, "fget", None) or getattr(f, "func", None) or getattr(f, "__func__", f) for f in defined]
    return [function for function in unwrapped if inspect.isfunction(inspect.unwrap(function)) and function.__doc__]


RAISES = re.compile("raise (ValueError|DodeError|NonFinite|CalibrationMismatch|Unsupported)")
FUNCTIONS = [name for name in dode.__all__ if inspect.isfunction(getattr(dode, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained(name):
    function = getattr(dode, name)
    missing = [
        word for word in inspect.signature(function).parameters if not re.search(rf"\b{word}\b", function.__doc__)
    ]
    assert not missing


@pytest.mark.parametrize("name", assemble.MODULES)
def test_every_public_name_has_a_docstring_that_says_what_it_raises(name):
    for path, member in members(import_module(f"dode.{name}")).items():
        assert (member.__doc__ or "").strip(), path
        for function in functions(member):
            names = "Raises|DodeError|ValueError|NonFinite|CalibrationMismatch|Unsupported"
            explained = re.search(names, function.__doc__)
            assert explained or not RAISES.search(inspect.getsource(inspect.unwrap(function))), f"{path}: {function}"
