"""The pictures of docs/reports.md: a comparison on "fashion", its report in Debian's Chromium, and three plots of it.

python benchmarks/report_pictures.py   # some minutes; goes on where it was stopped, from demo/report.json
"""

import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from dode.calibration import replace_bytes
from dode.cli import app

ROOT = Path(__file__).parent.parent
IMAGES, WORK = ROOT / "docs/images", ROOT / "demo"
SOLVERS = "ddim,d-ddim,dpm-solver++2m,d-dpm-solver++2m"
NETWORK = ["fashion", "--nfe", "5,10,20", "--solvers", SOLVERS]
FILES = ["-o", str(WORK / "report.json"), "--report", str(WORK / "report.html")]
DESKTOP, PHONE = (1240, 860), (390, 844)


def screenshot(size: tuple[int, int], dark: bool, scroll: str | None = None) -> bytes:
    """The report as PNG of 128 colours, from the top or from the element of this selector."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    try:
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
        driver.get((WORK / "report.html").as_uri())
        if scroll is not None:
            driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", scroll)
        driver.implicitly_wait(1)
        taken = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    finally:
        driver.quit()
    buffer = BytesIO()
    taken.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Measure, then take the pictures."""
    WORK.mkdir(exist_ok=True)
    app(["compare", *NETWORK, "--paired", "32", "--fd", "200", *FILES], standalone_mode=False)
    replace_bytes(IMAGES / "report-light.png", screenshot(DESKTOP, dark=False))
    replace_bytes(IMAGES / "report-dark.png", screenshot(DESKTOP, dark=True, scroll="#wall"))
    replace_bytes(IMAGES / "report-phone.png", screenshot(PHONE, dark=False))
    tableau = ["plot", "tableau", "fashion", "--solver", "d-ddim", "--nfe", "5"]
    app([*tableau, "-o", str(IMAGES / "tableau.svg")], standalone_mode=False)


if __name__ == "__main__":
    main()
