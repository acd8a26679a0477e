"""The trigger form on Airflow's own page, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from acceptance.fix_standalone import DAG, Airflow

playwright = pytest.importorskip("playwright.sync_api", reason="`make test-acceptance` installs Playwright")
TIMEOUT_MILLISECONDS = 90_000.0


@pytest.fixture
def page(standalone: Airflow) -> Iterator[Any]:
    """A logged-in browser with the trigger form open."""
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("chromium is not installed: install Debian's package of that name")
    with playwright.sync_playwright() as driver:
        # Chromium refuses to run as root with its sandbox.
        browser = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        page.goto(f"{standalone.address}/dags/{DAG}")
        page.locator("input[name=username]").fill("admin")
        page.locator("input[name=password]").fill(standalone.password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Trigger").first.click()
        yield page
        browser.close()


def test_a_run_triggered_with_the_form_succeeds(standalone: Airflow, page: Any) -> None:
    form = page.get_by_role("dialog")
    form.get_by_text("After the checks pass").wait_for()
    for help_text in ("Required Actions", "checked and never published", "as $as_of", "Score every chunk again"):
        assert form.get_by_text(help_text).count() == 1
    form.get_by_role("spinbutton").fill("150")
    form.get_by_test_id("trigger-dag-submit").click()
    form.wait_for(state="hidden")
    page.goto(f"{standalone.address}/dags/{DAG}/runs")
    page.get_by_role("table").get_by_text("Success").first.wait_for()
    assert standalone.project.rows("select state, rows, trial_rows from prescore.versions") == [("checked", 150, 150)]
