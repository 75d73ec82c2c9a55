"""The pictures of docs/reports.md: a comparison on "fashion-mixture", its report in Debian's Chromium, and a tableau.

python benchmarks/report_pictures.py   # a minute; goes on where it was stopped, from demo/report.json
"""

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from dode.files import replace_bytes

ROOT = Path(__file__).parent.parent
IMAGES, WORK = ROOT / "docs/images", ROOT / "demo"
SOLVERS = "ddim,d-ddim,dpm-solver++2m,d-dpm-solver++2m"
NETWORK = ["fashion-mixture", "--nfe", "5,8,12,20", "--solvers", SOLVERS]
FILES = ["-o", str(WORK / "report.json"), "--report", str(WORK / "report.html")]
DESKTOP, WALL, PHONE = (1240, 860), (960, 600), (390, 844)


def typed(*words: str) -> None:
    """A command as a user types it, so that the report says it so."""
    subprocess.run([sys.executable, "-c", "from dode.cli import main; main()", *words], check=True)


def screenshot(size: tuple[int, int], dark: bool, scroll: str | None = None) -> bytes:
    """The report as PNG, from the top or from the element of this selector."""
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
    taken.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Measure, then take the pictures."""
    WORK.mkdir(exist_ok=True)
    typed("compare", *NETWORK, "--paired", "32", "--fd", "500", *FILES)
    replace_bytes(IMAGES / "report-light.png", screenshot(DESKTOP, dark=False))
    replace_bytes(IMAGES / "report-dark.png", screenshot(WALL, dark=True, scroll="#wall"))
    replace_bytes(IMAGES / "report-phone.png", screenshot(PHONE, dark=False))
    typed("plot", "tableau", "fashion-mixture", "--solver", "d-ddim", "--nfe", "5", "-o", str(IMAGES / "tableau.svg"))


if __name__ == "__main__":
    main()
