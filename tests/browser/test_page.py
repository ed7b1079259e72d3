"""The status page in a real browser, Debian's Chromium without a screen, beside a real server."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import dns.message
import pytest

from tests.ports import free_port
from tests.server.backends import addresses
from tests.server.serving import PATIENCE_SECONDS, Client, query, serving

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
axe = pytest.importorskip("axe_core_python", reason="pip install axe-core-python")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="apt-get install chromium chromium-driver")

TOKEN = "e5e973e5a6b2a43f48e7dc849e37bfcf"
WINDOW = "1400,1300"
ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
plain: {type: A, ttl: 60, value: 192.0.2.1}   # ours
www:
  type: A
  ttl: 60
  values: [192.0.2.80]
  dynamic:
    pools:
      fra: {values: [192.0.2.10, 192.0.2.11], fallback: iad, location: {lat: 50.1, lon: 8.7}}
      iad: {values: [192.0.2.20], location: {lat: 39.5, lon: -77.5}}
    rules:
      - {subnets: [127.1.0.0/16], pool: iad}
      - {geos: [EU, AF], pool: fra}
      - {pool: iad}
"""


class Page:
    """The browser at the page, and what a user does with it."""

    def __init__(self, driver: Any, folder: Path, dns_port: int) -> None:
        self.driver = driver
        self.folder = folder
        self.dns_port = dns_port
        self.wait = WebDriverWait(driver, PATIENCE_SECONDS, poll_frequency=0.05)

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        # of an element that may be replaced while it is looked at
        return self.driver.execute_script(
            "return document.querySelector(arguments[0])?.textContent ?? ''", css
        )

    def until(self, condition: Callable[[], object]) -> None:
        self.wait.until(lambda _: condition())

    def says(self, css: str, *words: str) -> None:
        """Wait until it does."""
        self.until(lambda: all(word in self.text(css) for word in words))

    def label(self, country: str) -> str:
        """What a screen reader says of a country on the map."""
        return self.driver.execute_script(
            "return document.getElementById(arguments[0])?.getAttribute('aria-label') ?? ''", country
        )

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def active(self, attribute: str) -> str:
        return self.driver.switch_to.active_element.get_attribute(attribute) or ""

    def write(self, css: str, *keys: str) -> None:
        """In place of what a field has."""
        self.find(css).clear()
        self.find(css).send_keys(*keys)

    def edit(self, field: str) -> None:
        """Open the form, and wait until it has this field."""
        self.find("#tab-edit").click()
        self.until(lambda: self.driver.find_elements(By.ID, field))

    def choose(self, record: str) -> None:
        self.until(lambda: record in [option.text for option in Select(self.find("#record")).options])
        Select(self.find("#record")).select_by_visible_text(record)
        name = record.split()[0]
        self.until(
            lambda: self.driver.execute_script(
                "return state.map?.record.startsWith(arguments[0])", f"{name}.example.com."
            )
        )

    def command(self, *arguments: str) -> None:
        """Run `geodns` as an operator does."""
        subprocess.run(
            [sys.executable, "-m", "geodns", *arguments], cwd=self.folder, check=True, capture_output=True
        )

    def exchanges(self, name: str) -> int:
        """How many mail servers the server says that a name has."""
        client = Client(self.dns_port)
        message = dns.message.from_wire(client.ask(query(name, "MX")))
        client.socket.close()
        return sum(map(len, message.answer))

    def ask_dns(self, count: int) -> None:
        client = Client(self.dns_port)
        for _ in range(count):
            client.ask(query("www.example.com", "A"))
        client.socket.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WINDOW}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    """Its folder, its port for DNS, and the one for HTTP."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "zones").mkdir()
    (folder / "zones" / "example.com.yaml").write_text(ZONE)
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    port = free_port()
    database = Path(__file__).parents[1] / "geo" / "data" / "test-small.mmdb"
    config = (
        f"server: {{id: ns1}}\ncontrol: {{listen: '127.0.0.1:{port}', token_file: token}}\n"
        f"geo: {{databases: [{database}], overrides: {{127.0.0.0/8: database}}}}\n"
    )
    with serving(folder, config=config) as process:
        yield folder, process.ports()[0], port


@pytest.fixture
def page(browser: Any, server: tuple[Path, int, int]) -> Page:
    """The page anew, with the record www chosen and the map drawn."""
    folder, dns_port, port = server
    (folder / "zones" / "example.com.yaml").write_text(ZONE)
    browser.get("about:blank")
    browser.get(f"http://127.0.0.1:{port}/")
    browser.execute_script("sessionStorage.clear()")
    page = Page(browser, folder, dns_port)
    page.choose("www A")
    page.until(lambda: "fra" in page.label("DE"))
    return page


def test_who_answers(page: Page) -> None:
    """Each country says its pool and values, in its label and in the table; nothing is left to colour."""
    assert "Germany: fra: 192.0.2.10, 192.0.2.11" == page.label("DE")
    assert "Japan: iad: 192.0.2.20" == page.label("JP")
    assert page.find("#DE").get_attribute("fill") != page.find("#JP").get_attribute("fill")
    page.find("#as-table summary").click()
    page.says("#countries", "Germany", "rule 2: EU (Europe)")
    assert "ns1" == page.text("#instance")
    assert {"fra", "iad"} == {b.text for b in page.driver.find_elements(By.CSS_SELECTOR, "#legend b")}
    page.choose("plain A")
    page.says("#world-said", "Everybody gets 192.0.2.1.")


def test_a_value_that_is_taken_out(page: Page) -> None:
    """`geodns down` in a terminal, and the map changes by itself, and back after `geodns auto`."""
    page.command("down", "fra", "--reason", "power works")
    page.until(lambda: page.label("DE") == "Germany: iad: 192.0.2.20")
    page.says("#legend", "fra", "▼ down")
    page.says("#value-rows", "192.0.2.10", "▼ down, forced", "power works")
    page.says("#facts", "2 down")
    page.command("auto", "fra")
    page.until(lambda: "fra" in page.label("DE"))
    page.says("#facts", "all up")


def test_by_keyboard(page: Page) -> None:
    """Tab reaches the map, letters and arrows move on it, Enter asks, and the answer is read out."""
    page.find("#show-queries").send_keys(Keys.TAB)
    assert "listbox" == page.driver.execute_script("return document.activeElement.parentNode.role")
    page.press("f")
    while "France" not in page.active("aria-label"):
        page.press("f")
    page.press(Keys.ARROW_LEFT)
    assert "France" not in page.active("aria-label")
    page.press(Keys.ARROW_RIGHT)
    page.press("j")
    while "Japan" not in page.active("aria-label"):
        page.press("j")
    page.press(Keys.ENTER)
    page.says("#asked", "192.0.2.20", "in Japan", "NOERROR", "everybody else")
    assert "status" == page.find("#asked").get_attribute("role")
    assert "true" == page.find("#JP").get_attribute("aria-selected")
    page.press(Keys.TAB)
    assert "as-table" == page.driver.execute_script("return document.activeElement.parentNode.id")


def test_what_would_a_user_get(page: Page) -> None:
    """A country by its name or by a click, an address, and what is neither."""
    page.find("#who").send_keys("Germany", Keys.ENTER)
    page.says("#asked", "192.0.2.10", "Germany)", "yes: ")
    page.write("#who", "127.1.2.3", Keys.ENTER)
    page.says("#asked", "192.0.2.20", "127.1.2.3 is in the subnet 127.1.0.0/16")
    page.write("#who", "nowhere", Keys.ENTER)
    page.says("#asked .problems", "nowhere")
    page.find("#AU").click()
    page.says("#asked", "in Australia")


def test_traffic(page: Page) -> None:
    """Queries come into the numbers and lines within seconds."""
    page.ask_dns(40)
    page.until(lambda: "NOERROR" in page.text("#chart-rcodes figcaption"))
    page.until(lambda: page.driver.execute_script("return state.seconds.some((each) => each.queries > 0)"))
    assert "top of the chart" in page.find("#chart-latency .chart").get_attribute("aria-label")
    page.says("#zone-rows", "example.com.", "served")


def give_token(page: Page) -> None:
    page.find("#token-open").click()
    page.find("#token").send_keys(TOKEN, Keys.ENTER)


def test_an_edit(page: Page) -> None:
    """The form, the diff before anything is written, the file with its comments after, and the map."""
    give_token(page)
    page.edit("f-ttl")
    page.write("#f-ttl", "30")
    page.write("#f-pool-2", "fra", Keys.ENTER)
    page.says("#edited .diff", "-  ttl: 60", "+  ttl: 30")
    file = page.folder / "zones" / "example.com.yaml"
    assert ZONE == file.read_text()
    page.find("#save").click()
    page.says("#edited", "Saved")
    text = file.read_text()
    assert "  ttl: 30\n" in text
    assert "# ours" in text
    page.until(lambda: page.label("JP") == "Japan: fra: 192.0.2.10, 192.0.2.11")


def test_a_pool_is_placed_on_the_map(page: Page) -> None:
    """By keyboard: the pool's place becomes the middle of the country."""
    give_token(page)
    page.edit("f-at-iad")
    page.find("#f-at-iad").find_element(By.XPATH, "ancestor::div/button").click()
    page.press("j")
    while "Japan" not in page.active("aria-label"):
        page.press("j")
    page.press(Keys.ENTER)
    north, east = map(float, page.find("#f-at-iad").get_attribute("value").split(","))
    assert (36, 138) == (pytest.approx(north, abs=3), pytest.approx(east, abs=3))
    page.find("#f-at-iad").send_keys(Keys.ENTER)
    page.says("#edited .diff", "+      iad: ", f"lon: {east}")


def test_pools_and_rules_come_and_go(page: Page) -> None:
    """A pool and a rule are added, rules change places, and a pool goes with its rule: all in one diff."""
    give_token(page)
    page.edit("f-new")
    page.write("#f-ttl", "30")
    page.find("#f-new").send_keys("lhr", Keys.ENTER)
    assert "f-pv-lhr" == page.active("id")
    page.press("192.0.2.30")
    page.find("#f-at-lhr").send_keys("51.5, -0.1")
    page.find("#f-rule").click()
    assert "f-who-2" == page.active("id")
    page.press("EU-GB")
    page.write("#f-pool-2", "lhr")
    page.find("#f-up-2").click()
    assert ("f-who-1", "EU-GB") == (page.active("id"), page.active("value"))
    page.find("#f-off-0").click()
    assert "EU-GB" == page.active("value")
    page.press(Keys.ENTER)
    page.says("#edited .diff", "+  ttl: 30", "-      - {subnets: [127.1.0.0/16], pool: iad}", "EU-GB")
    page.find("#save").click()
    page.says("#edited", "Saved")
    page.until(lambda: page.label("GB") == "United Kingdom: lhr: 192.0.2.30")
    text = (page.folder / "zones" / "example.com.yaml").read_text()
    pools = ZONE[ZONE.index("      fra:") : ZONE.index("    rules:")]
    assert pools in text
    assert text.index("EU-GB") < text.index("{geos: [EU, AF], pool: fra}") < text.index("- {pool: iad}")
    page.find("#f-rm-lhr").click()
    page.find("#f-off-0").click()
    page.press(Keys.ENTER)
    page.says("#edited .diff", "-      lhr:", "EU-GB")
    page.find("#save").click()
    page.says("#edited", "Saved")
    page.until(lambda: page.label("GB") == "United Kingdom: fra: 192.0.2.10, 192.0.2.11")


def test_a_plain_record_is_steered(page: Page) -> None:
    """Its first pool makes a rule for everybody; without the pool it is as it was."""
    give_token(page)
    page.choose("plain A")
    page.edit("f-new")
    page.find("#f-new").send_keys("fra")
    page.find("#f-add").click()
    page.find("#f-rm-fra").click()
    assert "f-new" == page.active("id")
    page.press("fra")
    page.find("#f-add").click()
    page.press("192.0.2.10")
    page.find("#f-ttl").send_keys(Keys.ENTER)
    page.says("#edited .diff", "+plain: {type: A, ttl: 60, value: 192.0.2.1, dynamic:", "pool: fra")
    page.find("#save").click()
    page.says("#edited", "Saved")
    client = Client(page.dns_port)
    page.until(lambda: addresses(client.ask(query("plain.example.com", "A"))) == ("192.0.2.10",))
    client.socket.close()


def test_a_record_comes_and_goes(page: Page) -> None:
    """A new one is answered once it is saved, and no more when taken out; one that is there is opened."""
    give_token(page)
    page.edit("f-ttl")
    page.find("#new summary").click()
    page.find("#new-name").send_keys("mail")
    Select(page.find("#new-type")).select_by_visible_text("MX")
    page.find("#new-name").send_keys(Keys.ENTER)
    page.until(lambda: page.active("id") == "f-values")
    page.press("10 mx1.example.net.", Keys.ENTER, "20 mx2.example.net.")
    page.find("#f-ttl").send_keys("60", Keys.ENTER)
    page.says("#edited .diff", "+mail:", "10 mx1.example.net.")
    file = page.folder / "zones" / "example.com.yaml"
    assert ZONE == file.read_text()
    page.find("#save").click()
    page.says("#edited", "Saved")
    assert file.read_text().startswith(ZONE)
    page.until(lambda: page.exchanges("mail.example.com") == 2)
    page.choose("www A")
    page.find("#new summary").click()
    page.write("#new-name", "MAIL", Keys.ENTER)
    page.says("#edit-form", "mail.example.com. MX")
    assert "10 mx1.example.net.\n20 mx2.example.net." == page.find("#f-values").get_attribute("value")
    page.find("#f-remove").click()
    page.says("#edited .diff", "-mail:", "20 mx2.example.net.")
    page.find("#save").click()
    page.says("#edited", "mail.example.com. MX is taken out")
    assert ZONE == file.read_text()
    page.until(lambda: page.exchanges("mail.example.com") == 0)


def test_a_conflict_and_an_error(page: Page) -> None:
    """Who edits what somebody else has changed meanwhile is told, and so are the problems of a bad record."""
    give_token(page)
    page.edit("f-pool-0")
    page.write("#f-pool-0", "lhr", Keys.ENTER)
    page.says("#edited .problems", "lhr")
    page.write("#f-pool-0", "fra")
    (page.folder / "zones" / "example.com.yaml").write_text(ZONE + "new: {type: A, value: 192.0.2.2}\n")
    page.press(Keys.ENTER)
    page.says("#edited", "Conflict")
    assert "lhr" not in (page.folder / "zones" / "example.com.yaml").read_text()


def test_without_a_token_nothing_is_written(page: Page) -> None:
    """The page asks for the token, and the file stays as it is."""
    page.edit("f-ttl")
    page.find("#f-ttl").send_keys("9", Keys.ENTER)
    page.until(lambda: page.find("#token-form").is_displayed())
    assert ZONE == (page.folder / "zones" / "example.com.yaml").read_text()


def test_it_pauses_where_nobody_looks(page: Page) -> None:
    """A hidden tab asks for nothing."""
    page.driver.execute_script("""
        Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));""")
    page.says("#live", "paused")
    page.until(
        lambda: not page.driver.execute_script("return Object.values(polls).some((poll) => poll.is_busy)")
    )
    asked = "return performance.getEntriesByType('resource').length"
    before = page.driver.execute_script(asked)
    page.driver.execute_script("begin()")
    assert before == page.driver.execute_script(asked)


@pytest.mark.parametrize(("scheme", "tab"), [("light", "ask"), ("dark", "edit")])
def test_no_barrier(page: Page, scheme: str, tab: str) -> None:
    """axe-core finds nothing, in light and in dark; and the browser's console is empty."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.driver.get_log("browser")
    page.find(f"#tab-{tab}").click()
    page.find("#as-table summary").click()
    if tab == "ask":
        page.find("#who").send_keys("Germany", Keys.ENTER)
        page.says("#asked", "192.0.2.10")
    else:
        page.until(lambda: page.driver.find_elements(By.ID, "f-ttl"))
    page.driver.execute_script(files(axe).joinpath("axe.min.js").read_text())
    # of the countries, which are all alike, only some: each costs 20 ms
    some = "{exclude: [['.land:nth-child(n+9)']]}"
    found = page.driver.execute_async_script(f"axe.run({some}).then(arguments[arguments.length - 1])")
    told = [
        (row["id"], row["help"], [node["html"][:200] for node in row["nodes"]][:3])
        for row in found["violations"]
    ]
    assert [] == told
    assert [] == page.driver.get_log("browser")
