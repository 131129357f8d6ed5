"""The report: one HTML page that answers when it is clicked, made from headers, arrays and thumbnails.

Not here: which artifacts and photographs it shows, and its place in the store (commands/report, store/page).
"""
