"""The official layouts: what CMS, CDC/NCHS and the AMA's licensees hand out, turned into tables.

``sources`` opens files and archives, ``sheets`` reads tables with a header, ``years`` compares a file's own year with
the release; then one module a layout. Each reads its whole input or says which line of which file is wrong.
"""
