"""`alignedcut report`: from artifacts of a project to one interactive page.

Not here: the page itself (report/page), and its file format (store/page).
"""
