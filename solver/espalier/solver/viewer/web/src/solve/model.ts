// A solve, folded from its entries.

import type { BranchPath, Candidate as Told, Deltas, Entry, Evidence, SolveResponse, Spec, Usage, Verdict as ToldVerdict, Votes } from "./entries";

export type Turn = [block: number, step: number];
export type Path = Turn[];
export type Status = "pass" | "fail" | "unknown" | "error";

export interface Verdict {
  status: Status;
  score: number;
  decided_by: string;
  evidence: Evidence[];
  feedback: string;
}

export interface Outcome {
  answer: string | null;
  verified: boolean;
  reason: string;
  candidate: number | null;
  stopped: string;
  newTokens: number;
  forcedTokens: number;
  acceptedTokens: number;
  failedTokens: number;
  abortedTokens: number;
  /** What the model wrote to judge candidates by. */
  verificationTokens: number;
  criticalPathTokens: number;
  speedup: number;
  seconds: number;
}

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
  /** Answers of steps that may share its vote, see `Solve.votes`. */
  branchAnswers: { answer: string; answerClass: number }[];
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
  branches: Map<string, Branch>;
  /** When the response ended and why; it is judged afterwards. */
  ended: { at: number; reason: string } | null;
  finish: Finish | null;
}

export interface Solve {
  text: string;
  check: unknown;
  policy: string;
  seed: string;
  /** Candidates at most. */
  k: number | null;
  /** Tests that the model wrote; null without them. */
  tests: number | null;
  /** How many examples the problem states that programs are run on. */
  examples: number;
  /** Times that the model compared two answers. */
  comparisons: number;
  /** Weight of each class of answers in the vote; null while nothing is told of it. */
  votes: Map<number, number> | null;
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
  seed: "",
  k: null,
  examples: 0,
  tests: null,
  comparisons: 0,
  votes: null,
  candidates: new Map(),
  rounds: [],
  outcome: null,
  broken: null,
  now: 0,
});

export const keyOf = (path: Path): string => path.map((turn) => turn.join(".")).join("/");

/** Takes in one entry. Entries about what has not begun are left out: the stream may start in the middle. */
export function take(solve: Solve, entry: Entry): void {
  const at = entry.seconds;
  solve.now = Math.max(solve.now, at);
  if ("accepted" in entry) {
    const { problem, policy, budget, seed, examples } = entry.accepted;
    solve.text = problem.text;
    solve.check = problem.check ?? null;
    solve.policy = policy;
    solve.seed = seed;
    solve.k = budget?.candidates ?? null;
    solve.examples = examples?.length ?? 0;
    solve.votes = null;
  } else if ("candidate_started" in entry) {
    const { spec, question } = entry.candidate_started;
    solve.candidates.set(spec.index, newCandidate(spec, at, question ?? null));
  } else if ("written_tests" in entry) solve.tests = entry.written_tests.tests.length;
  else if ("compared" in entry) {
    solve.comparisons += 1;
    weigh(solve, entry.compared.votes);
  } else if ("candidate_finished" in entry) {
    finish(solve, at, entry.candidate_finished.candidate);
    weigh(solve, entry.candidate_finished.votes);
  } else if ("round_finished" in entry) {
    const { round, stopped } = entry.round_finished;
    solve.rounds.push({ round, at, stopped: stopped ?? null });
  } else if ("solved" in entry) solve.outcome = outcomeOf(entry.solved);
  else if ("broken_off" in entry) solve.broken = entry.broken_off.reason;
  else if ("response_finished" in entry) {
    const candidate = solve.candidates.get(entry.response_finished.candidate);
    if (candidate) candidate.ended = { at, reason: entry.response_finished.finish_reason };
  } else if ("branch_opened" in entry) {
    const { candidate, path, plan } = entry.branch_opened;
    const place = pathOf(path);
    solve.candidates.get(candidate)?.branches.set(keyOf(place), newBranch(place, plan, at));
  } else if ("deltas" in entry) {
    const branch = branchOf(solve, entry.deltas);
    if (branch) solve.now = Math.max(solve.now, grow(branch, at, entry.deltas));
  } else if ("branch_closed" in entry) {
    const branch = branchOf(solve, entry.branch_closed);
    if (branch) Object.assign(branch, { closed: at, cut: entry.branch_closed.cut });
  } else if ("joined" in entry) branchOf(solve, entry.joined)?.joins.push(at);
  else if ("answer_judged" in entry) {
    const { answer, verdict, already_judged } = entry.answer_judged;
    branchOf(solve, entry.answer_judged)?.judgements.push({ at, answer, verdict: verdictOf(verdict), repeated: already_judged });
  }
}

const pathOf = (path: BranchPath): Path => path.turns.map(({ block, step }) => [block, step]);

const branchOf = (solve: Solve, place: { candidate: number; path: BranchPath }): Branch | undefined =>
  solve.candidates.get(place.candidate)?.branches.get(keyOf(pathOf(place.path)));

const verdictOf = (verdict: ToldVerdict): Verdict => ({ ...verdict, status: verdict.status.slice("STATUS_".length).toLowerCase() as Status });

function weigh(solve: Solve, changed: Votes | undefined): void {
  if (!changed) return;
  solve.votes ??= new Map();
  for (const [answerClass, weight] of Object.entries(changed)) solve.votes.set(Number(answerClass), weight);
}

/** Adds tokens to a branch; the time of the last one. */
function grow(branch: Branch, at: number, deltas: Deltas): number {
  let time = at;
  for (const step of deltas.steps) {
    time += step / 1000;
    branch.times.push(time);
  }
  branch.last = Math.max(branch.last, time);
  branch.text += deltas.text;
  branch.forced += deltas.forced;
  branch.logprob += deltas.logprob;
  branch.positions = [branch.positions?.[0] ?? deltas.positions[0], deltas.positions[1]];
  return time;
}

const newTokensOf = (usage: Usage): number => usage.sampled_tokens + usage.forced_tokens;

function outcomeOf(result: SolveResponse): Outcome {
  const { accepted, failed, aborted, verification, critical_path_tokens, seconds } = result.spent;
  const ofCandidates = [accepted, failed, aborted];
  const [acceptedTokens, failedTokens, abortedTokens] = ofCandidates.map(newTokensOf) as [number, number, number];
  const decoded = acceptedTokens + failedTokens + abortedTokens;
  const verificationTokens = verification ? newTokensOf(verification) : 0;
  return {
    answer: result.answer ?? null,
    verified: result.outcome === "OUTCOME_VERIFIED",
    reason: result.reason,
    candidate: result.candidate ?? null,
    stopped: result.stopped,
    newTokens: decoded + verificationTokens,
    forcedTokens: [...ofCandidates, ...(verification ? [verification] : [])].reduce((sum, usage) => sum + usage.forced_tokens, 0),
    acceptedTokens,
    failedTokens,
    abortedTokens,
    verificationTokens,
    criticalPathTokens: critical_path_tokens,
    speedup: critical_path_tokens ? decoded / critical_path_tokens : 1,
    seconds,
  };
}

export function fold(entries: Iterable<Entry>): Solve {
  const solve = newSolve();
  for (const entry of entries) take(solve, entry);
  return solve;
}

function newCandidate(spec: Spec, started: number, question: string | null): Candidate {
  const root = newBranch([], "", started);
  return { spec, started, question, branches: new Map([["", root]]), ended: null, finish: null };
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

function finish(solve: Solve, at: number, told: Told): void {
  let candidate = solve.candidates.get(told.spec.index);
  if (!candidate) {
    candidate = newCandidate(told.spec, 0, null);
    solve.candidates.set(told.spec.index, candidate);
  }
  rootOf(candidate).text ||= told.text ?? "";
  candidate.finish = {
    at,
    answer: told.answer ?? null,
    answerClass: told.answer_class ?? null,
    branchAnswers: (told.branch_answers ?? []).map(({ answer, answer_class }) => ({ answer, answerClass: answer_class })),
    reason: told.finish_reason,
    usage: told.usage,
    forked: told.forked,
    wellFormed: told.well_formed,
    detail: told.detail,
    verdict: verdictOf(told.verdict),
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
