"""How Sphinx builds these pages: ``make docs``.  Nothing is fetched from anywhere."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

project = "realtime and supervisors"
author = "The realtime-supervised contributors"
copyright = f"2026 {author}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "lifecycle", "outside"]
exclude_patterns = ["examples", "_build", "newsfragments"]
nitpicky = True
# What ends a list of errors is a word.
nitpick_ignore = [("py:exc", "Others")]

html_theme = "furo"
html_title = "realtime and supervisors"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_type_aliases = {name: name for name in ("Event", "Hook")}
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
