"""`geodns version`."""

import platform

import click


@click.command()
def version() -> None:
    """Print the version of geodns and of the Python that runs it.

    \b
    Example:
      geodns version
    """
    from importlib.metadata import version as version_of

    click.echo(f"geodns {version_of('geodns')} (Python {platform.python_version()})")
