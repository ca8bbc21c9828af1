import assert from "node:assert/strict";
import { test } from "node:test";
import { type Piece, pieces } from "../src/rich/pieces";

const kinds = (text: string): string[] => pieces(text).map((piece) => piece.kind);

test("prose, formulas and programs are told apart", () => {
  assert.deepEqual(pieces("so $x^2$ and\n```python\nprint(1)\n```\nend"), [
    { kind: "prose", text: "so " },
    { kind: "math", source: "x^2", display: false },
    { kind: "prose", text: " and\n" },
    { kind: "program", source: "print(1)", language: "python" },
    { kind: "prose", text: "\nend" },
  ]);
  assert.deepEqual(kinds("\\(a\\) \\[b\\] $$c$$"), ["math", "math", "math"]);
});

test("a box holds everything up to its own brace", () => {
  assert.deepEqual(pieces("is \\boxed{\\frac{1}{2}}."), [
    { kind: "prose", text: "is " },
    { kind: "boxed", source: "\\frac{1}{2}" },
    { kind: "prose", text: "." },
  ]);
  assert.deepEqual(kinds("\\boxed{never closed"), ["prose"]);
});

test("tags are folded into blocks, also where they are cut off", () => {
  const [guideline, takeaway] = pieces("<guideline>\n<plan>1: add</plan><plan>2: sub</plan></guideline><takeaway>\nok $x$</takeaway>") as [Piece, Piece];
  assert.deepEqual(guideline, { kind: "guideline", plans: ["add", "sub"] });
  assert.deepEqual(takeaway, {
    kind: "takeaway",
    pieces: [
      { kind: "prose", text: "ok " },
      { kind: "math", source: "x", display: false },
    ],
  });
  assert.deepEqual(pieces("<guideline><plan>1: ad"), [{ kind: "guideline", plans: ["ad"] }]);
  assert.deepEqual(pieces("\n<step>\n1: go</step>"), [{ kind: "prose", text: "1: go" }]);
});

test("hostile text is prose like any other, and is read in linear time", () => {
  assert.deepEqual(pieces("<script>alert(1)</script>"), [{ kind: "prose", text: "<script>alert(1)</script>" }]);
  for (const part of ["\\boxed{", "$", "```\n", "<guideline>", "<plan>", "{", "\\["]) pieces(part.repeat(20_000));
});
