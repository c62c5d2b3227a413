"""What `mkdocs build` does beside its own: tutorials are run, benchmark tables become a page, equations become MathML."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from benchmark_figures import draw_figures  # noqa: E402
from benchmark_page import benchmark_page  # noqa: E402
from equations import with_equations  # noqa: E402
from tutorials import Tutorials  # noqa: E402

# Pages that lie elsewhere in the repository, and where the site has them.
ELSEWHERE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "config/README.md": "config.md", "resources/README.md": "data.md"}  # fmt: skip
TUTORIALS = Tutorials(ROOT)


def leaves(nav: Any) -> list[str]:
    """Pages of the navigation in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in leaves(part)]


def on_files(files: Any, config: Any) -> Any:
    """Run the tutorials, and add what lies outside docs/."""
    names = [page for page in leaves(config.nav) if page.startswith("tutorials/")]
    TUTORIALS.run([Path(config.docs_dir) / name for name in names])
    for path in TUTORIALS.produced():
        files.append(File.generated(config, f"tutorials/{path.relative_to(TUTORIALS.folder)}", abs_src_path=str(path)))
    for source, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    drawn = TUTORIALS.folder / "benchmarks"
    pictures = draw_figures(ROOT / "benchmarks", drawn)
    files.append(File.generated(config, "benchmarks.md", content=benchmark_page(ROOT / "benchmarks", pictures)))
    for path in sorted([*(ROOT / "benchmarks").glob("*.tsv"), *drawn.glob("*.svg")]):
        files.append(File.generated(config, f"benchmarks/{path.name}", abs_src_path=str(path)))
    return files


def with_lists(markdown: str) -> str:
    """The page with an empty line before each list, which Markdown's first dialect asks for and GitHub's does not."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        item = re.match(r"(-|\d+\.) ", line) is not None
        before = lines[-1] if lines else ""
        if item and not fenced and before and not re.match(r"(-|\d+\.|\s) ", before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Outputs behind the commands of a tutorial; links that are right in the repository made right in the site."""
    name = page.file.src_uri
    if name.startswith("tutorials/"):
        markdown = TUTORIALS.shown(Path(name).name, markdown)
    for source, target in ELSEWHERE.items():
        up = "../" * name.count("/")
        markdown = re.sub(rf"\]\((?:\.\./)*{re.escape(source)}", f"]({up}{target}", markdown)
    return with_lists(markdown).replace("](../../benchmarks/", "](../benchmarks/")


def on_post_build(config: Any) -> None:
    """No page of the theme that a server alone can show: the site opens from disk."""
    (Path(config.site_dir) / "404.html").unlink(missing_ok=True)


def with_options(html: str) -> str:
    """The page with options in inline code that a line does not break at their hyphens, and with bars as they are meant in tables."""

    def whole(code: re.Match[str]) -> str:
        return re.sub(r"(?<![^\s>])--?[a-z][a-z-]*", r'<span class="option">\g<0></span>', code[0].replace("\\|", "|"))

    return re.sub(r"<code>[^<]*</code>", whole, html)


def with_breaks(html: str) -> str:
    """The page with a place to break in each DOI, and none within the numbers of a table."""
    html = re.sub(r"(doi:10\.\d+/)(?=\S)", r"\1<wbr>", html)
    return re.sub(r"<td[^>]*>[^<]*", lambda cell: re.sub(r"(?<=\de)-(?=\d)", "\N{NON-BREAKING HYPHEN}", cell[0]), html)


def on_page_content(html: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw without a script; words of code and numbers whole."""
    return with_breaks(with_options(with_equations(html)))
