"""Promise: the code in the docs is the files that the tests run, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from scnp_kernels import scnp

CHECKOUT = Path(__file__).parent.parent
EXAMPLES = CHECKOUT / "examples"
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
INCLUDED = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n<!-- end of file -->", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def included() -> list[tuple[Path, str, str]]:
    """(page, file, code) of every file that a page shows."""
    return [(page, *found) for page in PAGES for found in INCLUDED.findall(page.read_text())]


@pytest.mark.parametrize(
    ("page", "file", "code"),
    included(),
    ids=[f"{page.name}-{file}" for page, file, _ in included()],
)
def test_the_code_is_the_file(page: Path, file: str, code: str) -> None:
    assert code == (CHECKOUT / file).read_text(), f"{page.name}: paste {file} between its markers"


def test_every_mark_of_a_file_is_followed_by_its_code() -> None:
    marks = sum(page.read_text().count("<!-- file:") for page in PAGES)
    assert marks == len(included())


def test_every_recipe_is_in_the_docs() -> None:
    recipes = {f"examples/{file.name}" for file in EXAMPLES.iterdir() if file.is_file()}
    assert {file for _, file, _ in included()} == recipes - {"examples/synthetic.py"}


def test_the_readme_links_to_every_page() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert {f"docs/{page.name}" for page in PAGES} <= set(LINK.findall(readme))


@pytest.mark.parametrize("page", [*PAGES, CHECKOUT / "README.md"], ids=lambda page: page.name)
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
        re.findall(r"[\w.-]+\.(?:py|h|cpp|cu)\b", (CHECKOUT / "CONTRIBUTING.md").read_text())
    )
    assert module.name in words
