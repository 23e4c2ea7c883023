"""The source of the workspace, parsed once."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from statistics import median, quantiles

import pytest
from attrs import field, frozen

ROOT = Path(__file__).parents[2]
GENERATED = "wire/pb/"

SIZES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def report_sizes(request):
    """Return a function that has the distribution of sizes shown at the end of the run."""

    def report(what, sizes):
        p90 = quantiles(sizes, n=10)[-1]
        line = f"{what}: median {median(sizes):g}, p90 {p90:.0f}, max {max(sizes)}"
        request.config.stash.setdefault(SIZES, []).append(line)

    return report


def pytest_terminal_summary(terminalreporter, config):
    if lines := config.stash.get(SIZES, []):
        terminalreporter.section("sizes")
        for line in lines:
            terminalreporter.write_line(line)


@frozen
class Source:
    """One Python file that we wrote."""

    path: Path
    name: str
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def lines(self) -> int:
        return self.text.count("\n")


@frozen
class Function:
    """A function or method with the lines of its body, docstring left out."""

    where: str
    body_lines: int


def tracked() -> list[Path]:
    """Return the files that git tracks, or would after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    paths = (ROOT / name for name in listing.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def parse(path: Path) -> Source:
    text = path.read_text()
    return Source(path, str(path.relative_to(ROOT)), text, ast.parse(text))


@pytest.fixture
def parse_text():
    return lambda text: Source(Path("example.py"), "example.py", text, ast.parse(text))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    return tracked()


@pytest.fixture(scope="session")
def sources(tracked_files: list[Path]) -> list[Source]:
    """Every Python file, tests included, generated ones not."""
    mine = [path for path in tracked_files if path.suffix == ".py" and GENERATED not in str(path)]
    return [parse(path) for path in mine]


@pytest.fixture(scope="session")
def product(sources: list[Source]) -> list[Source]:
    """The Python files that are shipped."""
    return [source for source in sources if "/src/" in source.name]


@pytest.fixture(scope="session")
def functions(sources: list[Source]) -> list[Function]:
    return [
        Function(f"{source.name}:{node.lineno} {node.name}", _body(node))
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body
    if ast.get_docstring(node, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1
