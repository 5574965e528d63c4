"""Debian's Chromium, offline, and the proof that it was: the browser's own log of its connections."""

import ipaddress
import json
import shutil
from pathlib import Path

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL in software.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # The browser asks for its vendor's services in spite of the switches above; no name is ever found.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def launch(playwright, net_log: Path):
    """A browser that writes down its connections; the file is whole when the browser is closed."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, f"--log-net-log={net_log}"])


def connections(net_log: Path) -> set[str]:
    """Addresses, with ports, that the browser tried to reach over TCP, its own traffic included."""
    content = json.loads(net_log.read_text())
    kind = content["constants"]["logEventTypes"]["TCP_CONNECT_ATTEMPT"]
    attempts = [event.get("params", {}) for event in content["events"] if event["type"] == kind]
    return {attempt["address"] for attempt in attempts if "address" in attempt}


def outside(addresses: set[str]) -> list[str]:
    """Those that are not on this machine's loopback."""
    hosts = {address: address.rpartition(":")[0].strip("[]") for address in addresses}
    return sorted(address for address, host in hosts.items() if not ipaddress.ip_address(host).is_loopback)
