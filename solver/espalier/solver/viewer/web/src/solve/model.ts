// A solve, folded from its entries.

import type { Entry, Outcome, Path, Spec, Status, Usage, Verdict } from "./entries";

export interface Judgement {
  at: number;
  answer: string;
  verdict: Verdict;
  repeated: boolean;
}

/** The response itself (empty path), or one of its steps. Times are seconds since the solve began. */
export interface Branch {
  path: Path;
  plan: string;
  opened: number;
  /** When its last token came. */
  last: number;
  closed: number | null;
  cut: boolean;
  text: string;
  /** Time of each token. */
  times: number[];
  forced: number;
  positions: [first: number, last: number] | null;
  logprob: number;
  judgements: Judgement[];
  /** Of its blocks, in order. */
  joins: number[];
}

export interface Finish {
  at: number;
  answer: string | null;
  answerClass: number | null;
  reason: string;
  usage: Usage;
  forked: boolean;
  wellFormed: boolean;
  detail: string;
  verdict: Verdict;
}

export interface Candidate {
  spec: Spec;
  started: number;
  question: string | null;
  promptTokens: number;
  branches: Map<string, Branch>;
  /** When the response ended and why; it is judged afterwards. */
  ended: { at: number; reason: string } | null;
  finish: Finish | null;
}

export interface Solve {
  text: string;
  check: unknown;
  policy: string;
  seed: number;
  /** Candidates at most, where that is known. */
  k: number | null;
  candidates: Map<number, Candidate>;
  rounds: { round: number; at: number; stopped: string | null }[];
  outcome: Outcome | null;
  broken: string | null;
  /** Time of the newest entry. */
  now: number;
}

/** How a candidate or a branch stands, in one word. */
export type Standing = Status | "running" | "aborted";

export const newSolve = (): Solve => ({
  text: "",
  check: null,
  policy: "",
  seed: 0,
  k: null,
  candidates: new Map(),
  rounds: [],
  outcome: null,
  broken: null,
  now: 0,
});

export const keyOf = (path: Path): string => path.map((turn) => turn.join(".")).join("/");

/** Takes in one entry. Entries about what has not begun are left out: the stream may start in the middle. */
export function take(solve: Solve, entry: Entry): void {
  solve.now = Math.max(solve.now, entry.at);
  switch (entry.event) {
    case "accepted":
      solve.text = entry.text;
      solve.check = entry.check;
      solve.policy = entry.policy;
      solve.seed = entry.seed;
      solve.k = entry.budget?.candidates ?? null;
      return;
    case "candidate_started":
      solve.candidates.set(entry.spec.index, newCandidate(entry.spec, entry.at, entry.question ?? null, entry.prompt_tokens));
      return;
    case "candidate_finished":
      finish(solve, entry);
      return;
    case "round_finished":
      solve.rounds.push({ round: entry.round, at: entry.at, stopped: entry.stopped });
      return;
    case "solved":
      solve.outcome = entry.result;
      return;
    case "broken_off":
      solve.broken = entry.reason;
      return;
  }
  const candidate = solve.candidates.get(entry.candidate);
  if (!candidate) return;
  switch (entry.event) {
    case "response_finished":
      candidate.ended = { at: entry.at, reason: entry.reason };
      return;
    case "branch_opened":
      candidate.branches.set(keyOf(entry.path), newBranch(entry.path, entry.plan, entry.at));
      return;
  }
  const branch = candidate.branches.get(keyOf(entry.path));
  if (!branch) return;
  switch (entry.event) {
    case "tokens": {
      let time = entry.at;
      for (const step of entry.steps) {
        time += step / 1000;
        branch.times.push(time);
      }
      branch.last = Math.max(branch.last, time);
      solve.now = Math.max(solve.now, time);
      branch.text += entry.text;
      branch.forced += entry.forced;
      branch.logprob += entry.logprob;
      branch.positions = [branch.positions?.[0] ?? entry.positions[0], entry.positions[1]];
      return;
    }
    case "branch_closed":
      branch.closed = entry.at;
      branch.cut = entry.cut;
      return;
    case "joined":
      branch.joins.push(entry.at);
      return;
    case "answer_judged":
      branch.judgements.push({
        at: entry.at,
        answer: entry.answer,
        verdict: entry.verdict,
        repeated: entry.repeated,
      });
  }
}

export function fold(entries: Iterable<Entry>): Solve {
  const solve = newSolve();
  for (const entry of entries) take(solve, entry);
  return solve;
}

function newCandidate(spec: Spec, started: number, question: string | null, promptTokens: number): Candidate {
  const root = newBranch([], "", started);
  return { spec, started, question, promptTokens, branches: new Map([["", root]]), ended: null, finish: null };
}

function newBranch(path: Path, plan: string, opened: number): Branch {
  return {
    path,
    plan,
    opened,
    last: opened,
    closed: null,
    cut: false,
    text: "",
    times: [],
    forced: 0,
    positions: null,
    logprob: 0,
    judgements: [],
    joins: [],
  };
}

function finish(solve: Solve, entry: Entry & { event: "candidate_finished" }): void {
  let candidate = solve.candidates.get(entry.candidate);
  if (!candidate) {
    if (!entry.spec) return;
    candidate = newCandidate(entry.spec, 0, null, entry.usage.prompt_tokens);
    solve.candidates.set(entry.candidate, candidate);
  }
  const root = rootOf(candidate);
  root.text ||= entry.text ?? "";
  candidate.finish = {
    at: entry.at,
    answer: entry.answer,
    answerClass: entry.answer_class,
    reason: entry.reason,
    usage: entry.usage,
    forked: entry.forked,
    wellFormed: entry.well_formed,
    detail: entry.detail,
    verdict: entry.verdict,
  };
}

export const rootOf = (candidate: Candidate): Branch => candidate.branches.get("")!;

/** Steps right below a branch, in order. */
export function stepsOf(candidate: Candidate, path: Path): Branch[] {
  const depth = path.length;
  return [...candidate.branches.values()]
    .filter((branch) => branch.path.length === depth + 1 && keyOf(branch.path.slice(0, depth)) === keyOf(path))
    .sort((a, b) => a.path[depth]![0] - b.path[depth]![0] || a.path[depth]![1] - b.path[depth]![1]);
}

/** When a branch stopped to decode. */
export function endOf(candidate: Candidate, branch: Branch, now: number): number {
  if (branch.path.length === 0) return candidate.ended?.at ?? candidate.finish?.at ?? now;
  return branch.closed ?? candidate.ended?.at ?? candidate.finish?.at ?? now;
}

export function standing(candidate: Candidate): Standing {
  const { finish } = candidate;
  if (!finish) return "running";
  if (finish.reason === "aborted" && finish.verdict.status !== "pass" && finish.verdict.status !== "fail") return "aborted";
  return finish.verdict.status;
}

/** Of a step: what was said of its answer. Without an answer it just ran, or was cut off with its candidate. */
export function branchStanding(candidate: Candidate, branch: Branch): Standing | null {
  if (branch.path.length === 0) return standing(candidate);
  const judged = branch.judgements.at(-1);
  if (judged) return judged.verdict.status;
  if (branch.closed !== null) return null;
  return candidate.ended || candidate.finish ? "aborted" : "running";
}

/** New tokens of a candidate so far. */
export function tokensOf(candidate: Candidate): number {
  if (candidate.finish) return candidate.finish.usage.sampled_tokens + candidate.finish.usage.forced_tokens;
  let count = 0;
  for (const branch of candidate.branches.values()) count += branch.times.length;
  return count;
}

export const nameOf = (path: Path): string =>
  path.length === 0 ? "response" : `step ${path.map(([block, step]) => (block ? `${block + 1}·${step}` : `${step}`)).join(".")}`;
