"""Tokens and secrets stay out of what is said: a run with right and wrong ones, and all that it wrote."""

import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS, Client, serving, write_zone

TOKEN, OTHER = "0123456789abcdefRIGHT", "fedcba9876543210WRONG"
SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
FIELDS = [
    f"Bearer {TOKEN}",
    f"Bearer {OTHER}",
    f"Basic {OTHER}",
    f"{OTHER}",
    f"Bearer {OTHER} {TOKEN}",
    f"Bearer\t{OTHER}" + "x" * 10_000,
]


def secret_file(path: Path, text: str) -> None:
    path.write_text(text + "\n")
    path.chmod(0o600)


def asked(port: int, method: str, path: str, field: str) -> str:
    """Everything that comes back."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request(method, path, b'{"state": "up"}', {"Authorization": field})
    answer = connection.getresponse()
    return f"{answer.status} {answer.headers} {answer.read().decode()}"


def test_no_log_has_a_token(tmp_path: Path) -> None:
    """The server's, its peer's, and the commands' output have no token, secret, or part of one, whoever shows
    it and wherever; nor has the process's command line.
    """
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    for name, text in (("token", TOKEN), ("other", OTHER), ("secret", SECRET)):
        secret_file(tmp_path / name, text)
    port = free_port()
    config = (
        f"control: {{listen: '127.0.0.1:{port}', token_file: token}}\n"
        "cookies: {secret_file: secret}\n"
        # ourselves, with a token that is wrong: the answer is 401
        f"peers: [{{url: 'http://127.0.0.1:{port}', token_file: other}}]\n"
    )
    told: list[str] = []
    with serving(tmp_path, config=config) as server:
        (dns_port,) = server.ports()
        for field in FIELDS:
            for method, path in (("GET", "/v1/status"), ("PUT", "/v1/external/x"), ("GET", f"/{OTHER}")):
                told.append(asked(port, method, path, field))
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"GET /?{TOKEN} HTTP/9.9\r\nAuthorization: {TOKEN}\r\n\r\n".encode())
            told.append(raw.recv(65536).decode())
        Client(dns_port).ask(bytes(12) + TOKEN.encode())
        command = [sys.executable, "-m", "geodns", "status", "--control", f"127.0.0.1:{port}"]
        for file in ("token", "other"):
            (tmp_path / f"{file}.yaml").write_text(
                f"control: {{listen: '127.0.0.1:{port}', token_file: {file}}}\n"
            )
            done = subprocess.run(
                [*command, "--config", f"{file}.yaml"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            told.append(done.stdout + done.stderr)
        # Broken by a typing error, and read by a reload.
        secret_file(tmp_path / "token", TOKEN + " " + OTHER)
        secret_file(tmp_path / "secret", SECRET + "0")
        server.send(signal.SIGHUP)
        server.wait_for("the config was not taken up")
        told.append(Path(f"/proc/{server.popen.pid}/cmdline").read_text())
        told.append(Path(f"/proc/{server.popen.pid}/environ").read_text())
        assert 0 == server.end()
    told += server.said
    assert any("token" in line for line in server.said), "what is wrong with the file is told"
    told += [path.read_text() for path in tmp_path.glob("state/*")]
    for text in told:
        assert not re.search(f"{TOKEN[:12]}|{OTHER[:12]}|{SECRET[:12]}", text), text
