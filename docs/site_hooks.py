"""What the site has besides the files of docs/: the reference, made of the settings' classes when the site is built."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from orchestrator.guide.reference import pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the made pages under Reference."""
    assert config.nav is not None
    (reference,) = [entry["Reference"] for entry in config.nav if "Reference" in entry]
    told = Path(config.config_file_path).read_text(encoding="utf-8")
    more = [path.name for path in sorted(Path(config.docs_dir).glob("*.md")) if path.name not in told]
    config.nav += [{"More": [*more]}] if more else []  # a page that nobody has given its place can still be found
    reference += [{title: path} for path, (title, _) in pages().items() if path != "reference/index.md"]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    for path, (_, text) in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository that are no pages of the site become their words."""
    return markdown if "/" in page.file.src_uri else re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)
