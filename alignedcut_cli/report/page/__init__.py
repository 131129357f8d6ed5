"""The report: one interactive HTML page, made from headers, arrays and thumbnails.

Not here: which artifacts and photographs it shows, and its file in the store (commands/report, store/page).
"""
