// The critical path: tokens that had to be decoded one after the other.

import { type Path, type Candidate, keyOf, rootOf, type Solve, stepsOf } from "./model";

export interface Chain {
  tokens: number;
  /** Keys of its branches. */
  branches: Set<string>;
}

/** The longest chain through a branch: its own tokens, and of each of its blocks the longest step. */
export function longestChain(candidate: Candidate, path: Path = []): Chain {
  const branch = candidate.branches.get(keyOf(path)) ?? rootOf(candidate);
  const chain: Chain = { tokens: branch.times.length, branches: new Set([keyOf(path)]) };
  const longest = new Map<number, Chain>();
  for (const step of stepsOf(candidate, path)) {
    const block = step.path.at(-1)![0];
    const inner = longestChain(candidate, step.path);
    const best = longest.get(block);
    if (!best || inner.tokens > best.tokens) longest.set(block, inner);
  }
  for (const inner of longest.values()) {
    chain.tokens += inner.tokens;
    for (const key of inner.branches) chain.branches.add(key);
  }
  return chain;
}

/** The critical path of a solve: of each round the candidate with the longest chain, then the longest re-join, by index. */
export function criticalPath(solve: Solve): Map<number, Chain> {
  const halves = new Map<string, [Candidate, Chain]>();
  for (const candidate of solve.candidates.values()) {
    const { round, rejoin } = candidate.spec;
    const half = `${round} ${rejoin !== undefined}`; // the re-joins of a round begin when its candidates have ended
    const chain = longestChain(candidate);
    const best = halves.get(half);
    if (!best || chain.tokens > best[1].tokens) halves.set(half, [candidate, chain]);
  }
  return new Map([...halves.values()].map(([candidate, chain]) => [candidate.spec.index, chain]));
}
