"""What each kind of artifact adds to the page, one file per kind: sections, views of patches, sentences, references.

Not here: the page around them (report/page), and reading artifacts (commands/report).
"""
