// What the server and the trace file tell of a solve: the JSON form of SolveEvent (proto/espalier/v1/solver.proto), made
// small by solver/espalier/solver/viewer/entries.py.

export interface BranchPath {
  turns: { block: number; step: number }[];
}

export interface Evidence {
  rule: string;
  detail: string;
}

export interface Verdict {
  status: `STATUS_${"PASS" | "FAIL" | "UNKNOWN" | "ERROR"}`;
  score: number;
  decided_by: string;
  evidence: Evidence[];
  feedback: string;
}

export interface Usage {
  prompt_tokens: number;
  sampled_tokens: number;
  forced_tokens: number;
  critical_path_tokens: number;
}

export interface Spec {
  index: number;
  round: number;
  seed: number;
  temperature: number;
  /** Absent in traces of older versions. */
  way?: string;
  max_tokens?: number;
  hint: string;
  repair?: { candidate: number; answer: string; feedback: string };
  /** The candidate whose finished branches it concludes anew. */
  rejoin?: number;
}

export interface Problem {
  id: string;
  text: string;
  check?: Record<string, unknown>;
}

export interface Budget {
  candidates: number;
  tokens?: number;
  seconds?: number;
  rounds?: number;
}

export interface Candidate {
  spec: Spec;
  /** Only of a candidate whose tokens are not told: a job's, or one that an earlier run has generated. */
  text?: string;
  answer?: string;
  finish_reason: string;
  detail: string;
  usage: Usage;
  verdict: Verdict;
  well_formed: boolean;
  forked: boolean;
  seconds: number;
  answer_class?: number;
  /** Those answers of its steps that share its vote. Absent in traces of older versions. */
  branch_answers?: { answer: string; answer_class: number }[];
}

export interface SolveResponse {
  outcome: `OUTCOME_${"VERIFIED" | "ANSWERED" | "UNSOLVED"}`;
  answer?: string;
  decided_by: string;
  reason: string;
  candidate?: number;
  stopped: string;
  /** `verification` is absent in traces of older versions. */
  spent: { accepted: Usage; failed: Usage; aborted: Usage; verification?: Usage; critical_path_tokens: number; seconds: number };
  seed: string;
}

/** Deltas of one branch, gathered. */
export interface Deltas {
  candidate: number;
  path: BranchPath;
  /** Milliseconds from the entry's time to the first token, and from each token to the next: one a token. */
  steps: number[];
  text: string;
  forced: number;
  positions: [first: number, last: number];
  logprob: number;
}

/** Classes of answers whose weight in the vote has changed: their weight now. Absent in traces of older versions. */
export type Votes = Record<number, number>;

interface Kinds {
  compared: { first: number; second: number; score: number; usage: Usage; votes?: Votes };
  written_tests: { tests: { source: string; count: number }[]; usage: Usage };
  accepted: { problem: Problem; policy: string; budget?: Budget; seed: string; examples?: string[] };
  candidate_started: { spec: Spec; question?: string };
  branch_opened: { candidate: number; path: BranchPath; plan: string };
  deltas: Deltas;
  branch_closed: { candidate: number; path: BranchPath; cut: boolean };
  joined: { candidate: number; path: BranchPath; block: number };
  response_finished: { candidate: number; finish_reason: string; usage: Usage; detail: string };
  answer_judged: { candidate: number; path: BranchPath; answer: string; verdict: Verdict; already_judged: boolean };
  candidate_finished: { candidate: Candidate; votes?: Votes };
  round_finished: { round: number; stopped?: string; tokens: number };
  solved: SolveResponse;
  broken_off: { reason: string };
}

/** An entry: its time, and one field that names its kind. */
export type Entry = { [Kind in keyof Kinds]: { seconds: number } & { [Name in Kind]: Kinds[Kind] } }[keyof Kinds];
