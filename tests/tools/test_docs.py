"""Promise: pages show the files that the tests run, every page can be found, no link is dead."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

import scnp_kernels.metrics
from scnp_kernels import scnp

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
LINKING = [*PAGES, *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
NAVIGATION = re.compile(r": ([\w-]+\.md)$", re.MULTILINE)
README_LINES = 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_a_file_it_links_to(page: Path) -> None:
    """Where the repository is read without the site, the link leads to what the site shows."""
    text = page.read_text()
    links = {(page.parent / link).resolve() for link in LINK.findall(text)}
    for file in SNIPPET.findall(text):
        assert (CHECKOUT / file).is_file(), file
        assert (CHECKOUT / file) in links, f"{page.name} shows {file} without a link to it"


def test_every_recipe_is_in_the_docs() -> None:
    recipes = {f"examples/{file.name}" for file in EXAMPLES.iterdir() if file.is_file()}
    shown = {file for page in PAGES for file in SNIPPET.findall(page.read_text())}
    in_examples = {file for file in shown if file.startswith("examples/")}
    assert in_examples == recipes - {"examples/synthetic.py"}


def test_the_navigation_has_every_page() -> None:
    listed = NAVIGATION.findall((CHECKOUT / "mkdocs.yml").read_text())
    assert len(listed) == len(set(listed))
    assert {page.name for page in PAGES} <= set(listed)


@pytest.mark.parametrize("module", [scnp_kernels, scnp_kernels.metrics], ids=lambda m: m.__name__)
def test_the_api_page_has_every_public_name(module: ModuleType) -> None:
    listed = set(re.findall(r"^::: (\S+)$", (CHECKOUT / "docs/api.md").read_text(), re.MULTILINE))
    listed |= {name.rpartition(".")[0] for name in listed}  # of reference, what it offers
    public = {f"{module.__name__}.{name}" for name in module.__all__ if name != "__version__"}
    assert public <= listed


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


def test_compiling_and_differentiating_go_together_in_either_order() -> None:
    """docs/distributed.md says so."""
    target = torch.randint(0, 3, (2, 8, 8))
    logits = torch.randn(2, 3, 8, 8)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return scnp(logits, target).square().sum()

    expected = torch.func.grad(loss)(logits)
    torch.testing.assert_close(torch.func.grad(torch.compile(loss))(logits), expected)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(torch.func.grad(loss), fullgraph=True)(logits)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(torch.func.grad(loss))(logits), expected)


def _modules() -> list[Path]:
    """The package's and csrc's files; the units of one target are named by their folder."""
    files = [
        *(CHECKOUT / "scnp_kernels").rglob("*.py"),
        *(file for file in (CHECKOUT / "csrc").rglob("*") if file.is_file()),
    ]
    return [
        file.relative_to(CHECKOUT)
        for file in files
        if file.name not in ("__init__.py", "_version.py")
        and file.parent.parent.name != "targets"
        # A source whose header has its name is named with it.
        and not (file.suffix == ".h" and file.with_suffix(".cpp").exists())
    ]


@pytest.mark.parametrize("module", _modules(), ids=str)
def test_the_map_names_every_module(module: Path) -> None:
    words = set(
        re.findall(r"[\w.-]+\.(?:py|h|cpp|cu)\b", (CHECKOUT / "docs/internals.md").read_text())
    )
    assert module.name in words
