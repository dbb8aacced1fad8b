"""Stage `paper`: tables, figures and a one-page summary from tidy CSVs alone, without torch."""
