"""The names of the arguments that a transform takes, its own first."""

from __future__ import annotations

import inspect


def argument_names(kind: type) -> list[str]:
    """What may be given by name, through all classes that pass the rest of it on.

    Of what a further base class takes before its ``*``, only names in ``args_names`` count: the
    class itself gives the others, as `ToCanonical` gives `ToOrientation` the orientation.

    Args:
        kind: The class of a transform.
    """
    own = getattr(kind, "args_names", ())
    makers = [vars(one)["__init__"] for one in kind.__mro__[:-1] if "__init__" in vars(one)]
    found: dict[str, None] = {}
    for number, made_by in enumerate(makers):
        _, *parameters = inspect.signature(made_by).parameters.values()
        for given in parameters:
            is_plain = given.kind is given.POSITIONAL_OR_KEYWORD and (
                not number or given.name in own
            )
            if is_plain or given.kind is given.KEYWORD_ONLY:
                found[given.name] = None
        if not any(given.kind is given.VAR_KEYWORD for given in parameters):
            break
    return list(found)
