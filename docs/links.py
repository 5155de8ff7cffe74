"""MkDocs hook: makes the links of the repository's pages work on the site.

The pages link each other as files of the repository. Some of these files are pages of the site
under another name (`PAGES`); links to files that are not on the site become the file's path.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: File of the repository → page of the site that includes it.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "speed.md",
    "tfds_builders/README.md": "data.md",
}
PAGES |= {
    f"tfds_builders/{name}/README.md": f"data/{name}.md"
    for name in ("human36m", "mpii", "mpi_inf_3dhp", "lsp", "synthetic")
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_INCLUDE = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)


def on_page_markdown(markdown: str, page, **_) -> str:
    """Includes files and rewrites links.

    Raises:
        FileNotFoundError: a link or an include names no file of the repository.
    """
    origin = f"docs/{page.file.src_uri}"
    if include := _INCLUDE.search(markdown):
        origin = include[1]
        markdown = _INCLUDE.sub((ROOT / origin).read_text().replace("\\", "\\\\"), markdown)

    def rewrite(match: re.Match) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{origin} links to {path}, which does not exist")
        path = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else path)
        on_site = path.endswith(".md") and (ROOT / "docs" / path).exists()
        if on_site or (path.endswith((".png", ".svg")) and (ROOT / "docs" / path).exists()):
            return f"[{text}]({path}{anchor})"
        return text if path in text else f"{text} (`{path}`)"

    return _LINK.sub(rewrite, markdown)
