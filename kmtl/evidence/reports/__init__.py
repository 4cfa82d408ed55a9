"""Results as a page, as Markdown and as files."""
