"""A real Chromium that tests drive, as a person would, to see what a page shows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import wait_for

PICTURES = "TUNER_PICTURES"
"""The environment variable that names a folder for the pictures; without it they are not kept."""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1300")


class Browser:
    """One page after another; every wait is for something to be seen."""

    def __init__(self, driver: Any, pictures: Path) -> None:
        self.driver, self.pictures = driver, pictures

    def open(self, url: str) -> None:
        """Open a page anew, also where only the part behind the # differs."""
        self.driver.get(url)
        self.driver.refresh()

    def enter(self, dashboard: str, token: str) -> None:
        """Open Ray's dashboard, and give it the token that it asks for."""
        self.open(dashboard)
        self.find("//input[@type='password']").send_keys(token)
        self.find("//button[contains(translate(., 'SUBMIT', 'submit'), 'submit')]").click()
        self.until("View all jobs")

    def text(self) -> str:
        """Read all that the page shows."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def until(self, shown: str) -> str:
        """Wait until the page shows a text; returns all of it."""
        wait_for(lambda: shown in self.text(), 60)
        return self.text()

    def find(self, path: str) -> Any:
        """Find the first thing to be seen that an XPath names, as soon as it is there."""
        found: list[Any] = []

        def shown() -> bool:
            found[:] = [one for one in self.driver.find_elements("xpath", path) if one.is_displayed()]
            return bool(found)

        wait_for(shown, 60)
        return found[0]

    def show_as(self, width: int, scheme: str = "light", height: int = 900) -> None:
        """Be as wide as a phone, say, and prefer a `light` or a `dark` page."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)

    def requested(self) -> set[str]:
        """Name all that was fetched since this was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return {one["request"]["url"] for one in sent}

    def complaints(self) -> list[str]:
        """List what the page wrote to its console since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def run(self, script: str, *given: Any) -> Any:
        """Run JavaScript in the page."""
        return self.driver.execute_script(script, *given)

    def keep(self, name: str, path: str = "//body") -> None:
        """Take a picture of a part of the page."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        assert self.find(path).screenshot(str(self.pictures / f"{name}.png"))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium; without it, or what drives it, the test is left out."""
    program, chauffeur = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or chauffeur is None:
        pytest.skip("Debian's packages chromium and chromium-driver are not installed here")
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `test` brings selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chauffeur))
    try:
        yield Browser(driver, Path(os.environ.get(PICTURES) or folder))
    finally:
        driver.quit()
