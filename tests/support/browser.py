"""A headless Chromium that tests drive: open a page, press what a person presses, read what a person reads."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
MISSING = "no chromium, chromium-browser or google-chrome is installed: apt-get install chromium"
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE = 20.0
"""Seconds that anything may take before a test fails."""


class Browser:
    """One tab, through Chromium's remote debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._sent = 0
        self.complaints: list[str] = []
        """What the console, or the browser on its own account, has complained of."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.requests: list[str] = []
        """Addresses that the pages asked for."""

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """A command of the protocol and its answer; AssertionError where the browser refuses it."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": given}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._sent:
                assert "error" not in message, f"{method}: {message['error']}"
                found: dict[str, Any] = message["result"]
                return found
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"])[:2_000])
        elif message.get("method") == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(said["args"])[:2_000])
        elif message.get("method") == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """The window's inner size in CSS pixels, and the reader's colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str, ready: str) -> None:
        """Go to an address, as a fresh page, and wait until the expression `ready` holds."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.until(ready)

    def until(self, expression: str) -> None:
        """Wait until an expression holds; AssertionError with the page's text where it never does."""
        end = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise AssertionError(f"never: {expression}\n{self.complaints}\n{self.value('document.body.innerText')}")
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page; None while a page is being left."""
        with suppress(KeyError):
            found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
            assert "exceptionDetails" not in found, found["exceptionDetails"]
            return found["result"]["value"]
        return None

    def press(self, selector: str) -> None:
        """A real click in the middle of the first such element."""
        place = f"""(async () => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center", inline: "center", behavior: "instant"}});
            for (let before = NaN;;) {{ // a page that still scrolls would be pressed beside it
                const box = element.getBoundingClientRect();
                if (box.x + box.y === before) return [box.x + box.width / 2, box.y + box.height / 2];
                before = box.x + box.y;
                await new Promise((painted) => setTimeout(painted, 40));
            }}
        }})()"""
        x, y = self.value(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name: str) -> None:
        """A key by its name, such as ArrowRight, Escape, Enter or Tab."""
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38,
                "ArrowRight": 39, "ArrowDown": 40}[name]  # fmt: skip
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=name, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=name, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """A screenshot of the window as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A Chromium whose profile lies in `folder`; ends with the block."""
    from websockets.sync.client import connect

    port = folder / "DevToolsActivePort"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [CHROMIUM, *QUIET, f"--user-data-dir={folder}", "about:blank"], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + PATIENCE
        while not (port.exists() and "\n" in port.read_text()):
            assert time.monotonic() < end and process.poll() is None, (folder / "chromium.log").read_text()[-2_000:]
            time.sleep(0.05)
        tabs = json.loads(urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json").read())
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE)
