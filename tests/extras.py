"""Which module of an extra an installation lacks."""

from importlib.util import find_spec

# Modules of the extras that an installation of the core alone lacks.
EXTRA_MODULES = {"av", "diffusers", "matplotlib", "minari", "pandas", "PIL", "pyarrow",
                 "safetensors", "tensorboard", "torch"}  # fmt: skip


def lacking(error):
    """The module of an extra that is not installed here and made an import fail, or None."""
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if name in EXTRA_MODULES and find_spec(name) is None:
            return name
        error = error.__cause__ or error.__context__
    return None
