"""Solve a problem with the stock OpenAI client: the answer is the message, the evidence rides in `metadata`.

espalier serve --http 127.0.0.1:8000
python examples/openai_client.py [URL]
"""

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"
client = OpenAI(base_url=url, api_key="none")  # the bearer token, where the server asks for one

reply = client.chat.completions.create(
    model="espalier",
    messages=[{"role": "user", "content": "What is 6 times 7?"}],
    extra_body={"k": 8, "policy": "adaptive", "check": "reference:42"},
)
evidence = reply.metadata or {}
print(f"answer: {reply.choices[0].message.content}")
print(f"verified: {evidence['outcome'] == 'OUTCOME_VERIFIED'}, {evidence['reason']}")
print(f"tokens of all {len(evidence['candidates'])} candidates: {reply.usage.completion_tokens}")
