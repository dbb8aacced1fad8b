"""The keys of the config: frozen dataclasses whose fields carry type, range, unit and description.

Needs nothing but Python, so that the workflow, the stages and a bare GPU machine all read them.
"""
