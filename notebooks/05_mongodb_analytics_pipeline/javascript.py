"""Run the published JavaScript from Python, under Node with npm's MongoDB driver."""

from __future__ import annotations

import json
from typing import Any

from helpers.environment import node

END = """
const sent = []
client.on('commandStarted', event => sent.push(event.commandName))
;(async () => {
  const value = await CALL
  const answer = JSON.stringify({ value: value ?? null, sent })
  await client.close()
  console.log(answer)
})()
"""


def javascript(mg: Any, program: str, call: str) -> tuple[Any, list[str]]:
    """Run a program that makes a `client`, then a call of its functions.

    Returns the call's value and the names of the commands that the client sent to the server.
    """
    text = program + END.replace("CALL", call)
    answer = json.loads(node.run("05", "-", text=text, settings={"MONGODB_URL": mg.url}))
    return answer["value"], answer["sent"]
