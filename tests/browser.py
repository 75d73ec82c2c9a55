"""A headless Chromium of Debian's, for tests of pages: apt-get install chromium chromium-driver."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

QUIET = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
SIZE = "Emulation.setDeviceMetricsOverride"


def opened():
    """A driver; a missing browser is a failure, as these tests are all that looks at the page."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        pytest.fail(f"no {' and no '.join(missing)}: .ci/run installs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in (*QUIET, "--no-sandbox"):  # the sandbox does not start as root, which CI is
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(found["chromedriver"]))


def show(driver, path, width=1280, dark=False):
    """Open a file at a width in CSS pixels, in a theme."""
    driver.execute_cdp_cmd(SIZE, {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    driver.get(path.as_uri())


def requests(driver):
    """Addresses that the page asked for since the last call; pictures inside the page are not among them."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [address for address in asked if not address.startswith("data:")]


def complaints(driver):
    """What the console says since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]
