#!/usr/bin/env python3
"""docs/page.png: the status page of two servers with the sample zones, under a little load.

usage: make_page_picture.py [OUTPUT [SCHEME [WIDTH HEIGHT]]]     SCHEME is light or dark

Needs Chromium and its driver, selenium and pillow. All that is asked and answered stays on this machine; the
clients are made up, by EDNS Client Subnet.
"""

import contextlib
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from urllib.request import Request, urlopen

import dns.edns
import dns.message
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

ROOT = Path(__file__).parents[1]
OUTPUT = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "page.png"
SCHEME = sys.argv[2] if sys.argv[2:] else "light"
WIDTH, HEIGHT = map(int, sys.argv[3:5]) if sys.argv[3:] else (1440, 1560)
LOAD_SECONDS = 75
COLOURS = 256  # of the picture: half of its size, and nobody sees it
TOKEN = "0123456789abcdef0123456789abcdef"
DNS_PORTS, CONTROL_PORTS = (15301, 15302), (15381, 15382)
SITES = {
    "fra": "50.1 8.7",
    "iad": "39.0 -77.5",
    "gru": "-23.4 -46.5",
    "sin": "1.4 103.8",
    "syd": "-33.9 151.2",
    "jnb": "-26.1 28.2",
}


def zone() -> str:
    """A zone with a site on each continent, whose checks are reported by this script."""
    lines = ["$zone:", "  pools:"]
    for at, (name, where) in enumerate(SITES.items()):
        lat, lon = where.split()
        check = f"healthcheck: {{protocol: EXTERNAL, name: {name}}}"
        values = f"[{{A: 203.0.113.{10 * at + 10}}}, {{A: 203.0.113.{10 * at + 11}}}]"
        lines.append(f"    {name}: {{values: {values}, location: {{lat: {lat}, lon: {lon}}}, {check}}}")
    nearest = f"{{nearest: true, pools: [{', '.join(SITES)}]}}"
    return "\n".join(
        [
            *lines,
            "'': {type: NS, values: [ns1.example.com., ns2.example.com.]}",
            f"www: {{type: A, ttl: 60, value: 192.0.2.80, dynamic: {{rules: [{nearest}]}}}}",
            "",
        ]
    )


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[None]:
    (folder / "zones").mkdir()
    for file in (ROOT / "zones").glob("*.yaml"):
        (folder / "zones" / file.name).write_text(file.read_text())
    (folder / "zones" / "example.net.yaml").write_text(zone())
    (folder / "geo-db").symlink_to(ROOT / "geo-db")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    running = []
    for at in (0, 1):
        config = folder / f"ns{at + 1}.yaml"
        config.write_text(
            f"listen: 127.0.0.1:{DNS_PORTS[at]}\nserver: {{id: ns{at + 1}}}\nstate: state{at}\n"
            f"control: {{listen: '127.0.0.1:{CONTROL_PORTS[at]}', token_file: token}}\n"
            f"peers: [{{url: 'http://127.0.0.1:{CONTROL_PORTS[1 - at]}'}}]\n"
        )
        command = [sys.executable, "-m", "geodns", "serve", "--config", config.name]
        running.append(subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True))
    try:
        for server in running:
            assert server.stderr is not None
            while "ready" not in (line := server.stderr.readline()):
                assert line, "a server did not start"
            threading.Thread(target=server.stderr.read, daemon=True).start()
        yield
    finally:
        for server in running:
            server.terminate()
            server.wait()


def report(at: int, name: str, state: str, reason: str) -> None:
    url = f"http://127.0.0.1:{CONTROL_PORTS[at]}/v1/external/{name}"
    body = json.dumps({"state": state, "reason": reason}).encode()
    request = Request(url, body, {"Authorization": f"Bearer {TOKEN}"}, method="PUT")
    urlopen(request).close()


def ask(stop: threading.Event) -> None:
    """A few hundred queries a second, more of them in some places, and a wave in them."""
    draw = random.Random(1)
    busy = [draw.randrange(1 << 24, 0xDF << 24) for _ in range(60)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", DNS_PORTS[0]))
        sock.setblocking(False)
        while not stop.wait(0.02 + 0.015 * (1 + random.random())):
            for _ in range(draw.randrange(2, 9)):
                client = draw.choice(busy) if draw.random() < 0.75 else draw.randrange(1 << 24, 0xDF << 24)
                name = "missing.example.net" if draw.random() < 0.07 else "www.example.net"
                option = dns.edns.ECSOption(str(IPv4Address(client)), 24, 0)
                with contextlib.suppress(OSError):
                    sock.send(dns.message.make_query(name, "A", use_edns=0, options=[option]).to_wire())
                with contextlib.suppress(OSError):
                    sock.recv(4096)


def picture() -> None:
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        f"--window-size={WIDTH},{HEIGHT}",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    if SCHEME == "dark":
        options.add_argument("--blink-settings=preferredColorScheme=0")
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        driver.get(f"http://127.0.0.1:{CONTROL_PORTS[0]}/#zone=example.net.&record=www+A")
        wait = WebDriverWait(driver, 120)
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".land[fill]"))
        wait.until(
            lambda page: Select(page.find_element(By.ID, "record")).first_selected_option.text == "www A"
        )
        driver.execute_script("pick('BR')")
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#asked .answer"))
        time.sleep(LOAD_SECONDS)
        shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        shot.quantize(COLOURS, dither=Image.Dither.NONE).save(OUTPUT, optimize=True)
    finally:
        driver.quit()
    print(f"{OUTPUT}: {OUTPUT.stat().st_size:,} octets")


def main() -> None:
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)):
        for at in (0, 1):
            for name in SITES:
                report(at, name, "up", "HTTP 200")
        asking = threading.Thread(target=ask, args=(stop,))
        asking.start()
        for at in (0, 1):
            report(at, "gru", "down", "HTTP 503, maintenance until noon")
        report(1, "syd", "down", "connection timed out")
        try:
            picture()
        finally:
            stop.set()
            asking.join()


if __name__ == "__main__":
    main()
