"""The report of a study: its verdict in words, figures and a table, as HTML and as Markdown."""

from jaxvae.study.report.writing import write_report as write_report
