"""How Sphinx builds the documentation (``make docs``): pages that load nothing from another host."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The directives are in extension/, and the code that the pages describe is this checkout's.
sys.path[:0] = [str(HERE), str(HERE.parent)]

import lawlib  # noqa: E402

project = "lawlib"
author = "the lawlib authors"
project_copyright = "2026, the lawlib authors"
version = release = lawlib.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_design", "sphinx_gallery.gen_gallery", "extension"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "extension"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# A formula in a docstring is no code.
highlight_language = "text"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"lawlib {version}"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
# Pages that show a file are many, and need no list of all others.
html_sidebars = {
    "source/**": [f"sidebar/{part}.html" for part in ("scroll-start", "brand", "search", "scroll-end")],
}
html_css_files = ["pages.css"]
# Colours that are told apart at the contrast of WCAG AA.
pygments_style = "a11y-high-contrast-light"
html_theme_options = {"top_of_page_buttons": []}
pygments_dark_style = "a11y-high-contrast-dark"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    # Of an example's output what it prints: not the value of a block's last line, which says nothing to a reader.
    "capture_repr": (),
    "abort_on_example_error": True,
    # In processes of their own: what they ran on JAX must not be forked with Sphinx.
    "parallel": 2,
    "nested_sections": False,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 3600,
    "image_scrapers": ("matplotlib", "extension.gallery.figures_apart"),
    # Of an example that draws nothing.
    "default_thumb_file": str(HERE.parent / "figures" / "dln_parsimony" / "layers_case1_L3.png"),
}
