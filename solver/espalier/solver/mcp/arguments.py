"""What is wrong with the arguments of a tool, in plain words instead of those of the library that checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "an object",
    "boolean": "true or false",
}


class PlainServer(MCPServer[Any]):
    """A server whose tools refuse unknown arguments, and name those that are missing or of a wrong type."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None) -> Any:
        """Call a tool by name with arguments.

        Raises:
            ToolError: As that of the base class.
        """
        schemas = {tool.name: tool.input_schema for tool in await self.list_tools()}
        known: Mapping[str, Any] = schemas.get(name, {}).get("properties", {})
        if name not in schemas:
            raise ToolError(f"there is no tool {name[:80]!r}; there are: {', '.join(schemas)}")
        if unknown := [argument for argument in arguments if argument not in known]:
            raise ToolError(f"{unknown[0][:80]}: is no argument of {name}; there are: {', '.join(known)}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            raise ToolError("; ".join(_faults(error.__cause__, known))) from error


def _faults(error: ValidationError, known: Mapping[str, Any]) -> list[str]:
    """A line for each argument that is wrong."""
    faults: dict[str, str] = {}
    for one in error.errors():
        argument = str(one["loc"][0])
        missing = one["type"] == "missing" and len(one["loc"]) == 1
        kinds = " or ".join(_kinds(known.get(argument, {})))
        faults.setdefault(argument, f"{argument}: is {'missing; give' if missing else 'not'} {kinds}")
    return list(faults.values())


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    choices = schema.get("anyOf", [schema])
    return [KINDS[choice["type"]] for choice in choices if choice.get("type") in KINDS] or ["a value"]
