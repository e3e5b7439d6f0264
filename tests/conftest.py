"""Runs note which tests passed, so that one with more libraries can leave those out."""

from __future__ import annotations

import pytest

PASSED = "fnnet/passed"  # in pytest's cache: names of tests
OPTION = "--leave-out-passed"


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "leave out what passed in the last run without this option: what it skipped is left"
    parser.addoption(OPTION, action="store_true", help=what)


class Notes:
    """What passed in this run, of whose workers only the first process takes notes."""

    def __init__(self, cache: pytest.Cache) -> None:
        self.cache = cache
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.cache.set(PASSED, sorted(self.names))


def pytest_configure(config: pytest.Config) -> None:
    apart = hasattr(config, "workerinput") or not hasattr(config, "cache")
    if not (apart or config.getoption(OPTION)):
        config.pluginmanager.register(Notes(config.cache))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption(OPTION):
        passed = {*config.cache.get(PASSED, [])}
        left_out = [item for item in items if item.nodeid in passed]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in passed]
