// What a model wrote, cut into pieces: prose, mathematics, programs and the blocks of parallel reasoning.
// Nothing here makes HTML; the pieces are shown as text nodes.

export type Piece =
  | { kind: "prose"; text: string }
  | { kind: "math"; source: string; display: boolean }
  | { kind: "boxed"; source: string }
  | { kind: "program"; source: string; language: string }
  | { kind: "guideline"; plans: string[] }
  | { kind: "takeaway"; pieces: Piece[] };

const MARKS = /<\|[a-z_]{1,40}\|>|<\/?(?:guideline|plan|step|takeaway)>/g;
const BLOCK = /<guideline>([\s\S]*?)(?:<\/guideline>|$)|<takeaway>([\s\S]*?)(?:<\/takeaway>|$)/g;
const PLAN = /<plan>([\s\S]*?)(?:<\/plan>|<plan>|$)/g;
const FENCE = /^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n([\s\S]*?)(?:\n[ \t]*\1[ \t]*$|$(?![\s\S]))/gm;
const MATH = /\$\$([\s\S]{1,4000}?)\$\$|\\\[([\s\S]{1,4000}?)\\\]|\\\(([\s\S]{1,4000}?)\\\)|\$([^$\n]{1,2000})\$|\\boxed\s*(?=\{)/g;

export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  text = text.trim();
  for (const block of text.matchAll(BLOCK)) {
    found.push(...programs(text.slice(at, block.index)));
    at = block.index + block[0].length;
    if (block[1] !== undefined) found.push({ kind: "guideline", plans: plans(block[1]) });
    else found.push({ kind: "takeaway", pieces: programs((block[2] ?? "").trim()) });
  }
  found.push(...programs(text.slice(at)));
  if (found[0]?.kind === "prose") found[0].text = found[0].text.trimStart();
  return found;
}

function plans(text: string): string[] {
  return [...text.matchAll(PLAN)].map((plan) => plain(plan[1] ?? "").trim().replace(/^\d+:\s*/, ""));
}

function programs(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const fence of text.matchAll(FENCE)) {
    found.push(...formulas(text.slice(at, fence.index)));
    at = fence.index + fence[0].length;
    found.push({ kind: "program", source: fence[3] ?? "", language: (fence[2] ?? "").toLowerCase() });
  }
  found.push(...formulas(text.slice(at)));
  return found;
}

function formulas(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  MATH.lastIndex = 0;
  for (let match = MATH.exec(text); match; match = MATH.exec(text)) {
    let end = match.index + match[0].length;
    let piece: Piece;
    if (match[0].startsWith("\\boxed")) {
      const close = closing(text, end);
      if (close < 0) continue;
      piece = { kind: "boxed", source: text.slice(end + 1, close) };
      end = close + 1;
    } else {
      const source = match[1] ?? match[2] ?? match[3] ?? match[4] ?? "";
      piece = { kind: "math", source, display: match[1] !== undefined || match[2] !== undefined };
    }
    prose(found, text.slice(at, match.index));
    found.push(piece);
    at = end;
    MATH.lastIndex = end;
  }
  prose(found, text.slice(at));
  return found;
}

/** Index of the brace that closes the one at `open`; -1 without one within reach. */
function closing(text: string, open: number): number {
  let depth = 0;
  const stop = Math.min(text.length, open + 4000);
  for (let at = open; at < stop; at++) {
    const sign = text[at];
    if (sign === "\\") at++;
    else if (sign === "{") depth++;
    else if (sign === "}" && --depth === 0) return at;
  }
  return -1;
}

function prose(found: Piece[], text: string): void {
  const left = plain(text).replace(/^\n+|\n+$/g, "\n").replace(/\n{3,}/g, "\n\n");
  if (left.trim()) found.push({ kind: "prose", text: left });
}

/** The text without tags and the tokens that end turns. */
export const plain = (text: string): string => text.replace(MARKS, "");
