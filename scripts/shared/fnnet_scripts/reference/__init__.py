"""The reference in the browser: docstrings and pages as a Sphinx site that loads nothing."""
