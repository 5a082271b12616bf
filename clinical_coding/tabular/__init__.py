"""The ICD-10-CM tabular list: its tree of codes, and what its notes order or forbid.

Read in the order of the flow: ``official_files`` reads what the CDC/NCHS and CMS publish,
``tree`` holds the codes in tabular order, ``references`` turns "(E08-E13 with .61-)" into rows of
it, ``note_lines`` reads whole notes, ``columns`` keeps the result in a file that loads in a tenth
of a second, ``notes`` tells which notes are in force for a code, ``strictness`` how they bind, and
``exclusions`` and ``manifestations`` answer the two questions that edits ask most. All of it is
asked through ``clinical_coding.code_library``.
"""
