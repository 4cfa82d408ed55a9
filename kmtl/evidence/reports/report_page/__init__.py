"""A report on paper: its sections, and the forms that it is written in."""

from kmtl.evidence.reports.report_page.folder_form import folder_files
from kmtl.evidence.reports.report_page.html_form import html_page
from kmtl.evidence.reports.report_page.markdown_form import markdown_files
from kmtl.evidence.reports.report_page.sections import Section, heading_of, section_of

__all__ = ["Section", "folder_files", "heading_of", "html_page", "markdown_files", "section_of"]
