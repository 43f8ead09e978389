"""Calls to this machine where a company's proxy is set."""

import os
import urllib.request

import pytest

from cluster.stack.process import free_port, unproxied_loopback


@pytest.mark.parametrize("known", ["", "intranet.example", "127.0.0.1, .example", "*"])
def test_loopback_needs_no_proxy(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, known)
    unproxied_loopback()
    unproxied_loopback()
    for host in ("127.0.0.1:8000", "localhost:8000"):
        assert urllib.request.proxy_bypass_environment(host), os.environ["no_proxy"]
    assert bool(urllib.request.proxy_bypass_environment("elsewhere.test")) == (known == "*")
    assert os.environ["no_proxy"].count("127.0.0.1") == (known != "*")


def test_a_port_is_given_once() -> None:
    given = [free_port() for _ in range(300)]  # of 10,000: drawn anew each time, some would come twice
    assert len(set(given)) == len(given)
