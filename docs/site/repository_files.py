"""Give the site what its pages link to outside of ``docs``: pages, pictures, tables, examples.

Links in the pages lead from file to file of the repository, so that they work wherever the
repository is read. Here every file that a page links to joins the site, and links are bent to where
it lies there: ``docs/guide.md`` at ``guide.md``, everything else at its path in the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = "docs/"
ALWAYS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[#)])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of ``docs`` that pages link to, and those that they link to."""
    waiting = [*ALWAYS, *(f"{PAGES}{file.src_uri}" for file in files.documentation_pages())]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if not path.startswith(PAGES):
            source = str(ROOT / path)
            files.append(File.generated(config, site_path(path), abs_src_path=source))
        if path.endswith(".md"):
            waiting += linked_files((ROOT / path).read_text(encoding="utf-8"), path)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Bend the links of a page from files of the repository to files of the site."""
    path = repository_path(page.file.src_uri)

    def bent(match: re.Match[str]) -> str:
        target = linked_file(match[1], path)
        if target is None:
            return match[1]  # of which MkDocs says that it leads nowhere
        return os.path.relpath(site_path(target), Path(page.file.src_uri).parent)

    return LINK.sub(bent, markdown)


def linked_files(text: str, path: str) -> list[str]:
    """Return the repository's files that the page at ``path`` links to."""
    found = (linked_file(link, path) for link in LINK.findall(text))
    return [file for file in found if file is not None]


def linked_file(link: str, path: str) -> str | None:
    """Return the file's path in the repository, or None where the link leads to none."""
    target = os.path.normpath(Path(path).parent / link)
    return target if (ROOT / target).is_file() else None


def site_path(path: str) -> str:
    """Return where a file of the repository lies among the site's sources."""
    return path.removeprefix(PAGES)


def repository_path(src_uri: str) -> str:
    """Return where a source of the site lies in the repository."""
    in_docs = f"{PAGES}{src_uri}"
    return in_docs if (ROOT / in_docs).is_file() else src_uri
