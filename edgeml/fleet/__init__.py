"""The control side: what speaks to boxes from outside of them, one at a time or many.

Law: it knows a box by its HTTP interfaces alone, and never touches the box's store or files. May be imported by ``cli``
only; imports ``edgeml.bundles`` and ``edgeml.errors``. Whatever it is told by a box is shown, never obeyed.
"""
