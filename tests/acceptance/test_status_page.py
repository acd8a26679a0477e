"""The status page in a real browser: on a desktop and a phone, light and dark, without JavaScript."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fix_page import Scene, status_page

playwright = pytest.importorskip("playwright.sync_api", reason="`make test-acceptance` installs Playwright")
DESKTOP, PHONE = 1280, 360
LOOKS = list(product((DESKTOP, PHONE), ("light", "dark")))
OVERFLOW = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("Chromium is not installed. On Debian, install the package chromium.")
    with playwright.sync_playwright() as driver:
        # Chromium requires this flag when it runs as root.
        launched = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address(shared_scene: Scene) -> Iterator[str]:
    with status_page(shared_scene.shelf.database) as client:
        yield str(client.base_url)


def visit(browser: Any, address: str, width: int, scheme: str, *, scripts: bool = False) -> Any:
    """Open the page in a new browser context. `page.problems` collects console messages and other requests."""
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "java_script_enabled": scripts}
    page = browser.new_context(**options).new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("request", lambda request: page.problems.append(request.url) if request.url != f"{address}/" else None)
    page.goto(f"{address}/")
    return page


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_whole_page_is_visible_without_javascript(
    browser: Any, address: str, tmp_path: Path, width: int, scheme: str
) -> None:
    page = visit(browser, address, width, scheme)
    page.screenshot(path=tmp_path / f"status-{width}-{scheme}.png", full_page=True)
    churn = page.locator("#model-churn")
    for text in ("Version 3 is published", "41 h old, max age 26 h", "mean score", "0.7312, expected 0.2 to 0.5"):
        assert churn.get_by_text(text).locator("visible=true").count() == 1
    for mark in ("Stale", "Version 4 refused"):
        assert churn.get_by_text(mark, exact=True).is_visible()
    assert page.locator("#model-flight_delay").get_by_text("On hold", exact=True).is_visible()
    charts = churn.get_by_role("img")
    assert charts.count() == 4
    for chart in charts.all():
        box = chart.bounding_box()
        assert box["width"] > 250
        assert box["height"] >= 18
        assert box["x"] + box["width"] <= width
    assert page.problems == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_page_is_not_wider_than_the_window(browser: Any, address: str, width: int, scheme: str) -> None:
    page = visit(browser, address, width, scheme, scripts=True)
    assert page.evaluate(OVERFLOW) == 0
    # The content security policy allows the style of the page, so the browser applies it.
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1216px"
    assert page.problems == []


def test_details_open_without_javascript(browser: Any, address: str) -> None:
    page = visit(browser, address, PHONE, "light")
    observed = page.locator("#model-churn").get_by_text("unique, none null")
    assert not observed.first.is_visible()
    page.locator("#model-churn summary").click()
    assert observed.first.is_visible()


def test_the_page_follows_the_color_scheme(browser: Any, address: str) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    light, dark = (visit(browser, address, DESKTOP, s, scripts=True).evaluate(brightness) for s in ("light", "dark"))
    assert min(light) > 200
    assert max(dark) < 60


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_text_has_enough_contrast_with_its_background(browser: Any, address: str, width: int, scheme: str) -> None:
    page = visit(browser, address, width, scheme, scripts=True)
    assert page.evaluate(CONTRAST) == []


# A script that returns every text whose contrast with its background is below 4.5, the minimum that WCAG 2.2 requires.
CONTRAST = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const failures = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || element.closest("title, desc, style")) continue;
    const style = getComputedStyle(element);
    const foreground = element.closest("svg") ? style.fill : style.color;
    const [low, high] = [luminance(foreground), luminance(background(element))].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) failures.push(`${text}: ${foreground} on ${background(element)}`);
  }
  return failures;
}
"""


def test_long_texts_do_not_overflow_on_a_phone(browser: Any, scene: Scene, tmp_path: Path) -> None:
    model, word = "m" * 48, "Donaudampfschifffahrtsgesellschaft" * 5
    rows = [(n, word, -1e9 - n * 1e-3) for n in range(100)]
    for _ in range(2):
        scene.shelf.publish(model, {"k" * 60: "bigint"}, rows, {"o" * 60: "text", "p" * 60: "double precision"})
    failed_check = {"name": word, "passed": False, "observed": word, "expected": word}
    scene.record_checks(model, 1, "failed", [failed_check] * 3)
    scene.execute(
        "update prescore.versions set rows = 12345678901234, rejected = 12345678901234, error = %s where model = %s",
        word, model,
    )  # fmt: skip
    scene.execute(
        "update prescore.models set description = %s, held_at = now(), held_by = %s, hold_reason = %s where model = %s",
        word, word, word, model,
    )  # fmt: skip
    with status_page(scene.shelf.database) as client:
        page = visit(browser, str(client.base_url), PHONE, "light", scripts=True)
        page.screenshot(path=tmp_path / "long.png", full_page=True)
        assert page.evaluate(OVERFLOW) == 0
