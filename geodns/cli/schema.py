"""`geodns schema`."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of a zone file, with descriptions, for completion and checks in editors.

    \b
    Example:
      geodns schema > zone.schema.json
      # and as the first line of a zone file:
      # yaml-language-server: $schema=../zone.schema.json
    """
    from geodns.zone.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
