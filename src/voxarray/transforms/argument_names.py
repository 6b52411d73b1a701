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
    listed = getattr(kind, "args_names", ())
    makers = [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]
    names: dict[str, None] = {}
    for number, made_by in enumerate(makers):
        _, *parameters = inspect.signature(made_by).parameters.values()
        for parameter in parameters:
            is_plain = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and (
                not number or parameter.name in listed
            )
            if is_plain or parameter.kind is parameter.KEYWORD_ONLY:
                names[parameter.name] = None
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return list(names)
