"""Tabulated filters: what a filter network says about a distance, looked up instead of computed.

`table.build_table` makes a table from trained filter networks; `reference.expand` reads it.
"""
