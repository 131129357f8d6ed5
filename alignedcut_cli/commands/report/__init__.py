"""`alignedcut report`: artifacts of a project in, one page that answers when it is clicked out.

Not here: the page itself (report/page), and its file format (store/page).
"""
