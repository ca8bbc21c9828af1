// What the server and the trace file tell of a solve; solver/espalier/solver/viewer/entries.py makes them.

export type Turn = [block: number, step: number];
export type Path = Turn[];
export type Status = "pass" | "fail" | "unknown" | "error";

export interface Evidence {
  rule: string;
  detail: string;
}

export interface Verdict {
  status: Status;
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
  max_tokens: number | null;
  hint: string;
  repair: { candidate: number; answer: string; feedback: string } | null;
}

export interface Outcome {
  answer: string | null;
  verified: boolean;
  decided_by: "check" | "consensus" | "only_candidate" | "none";
  reason: string;
  candidate: number | null;
  stopped: string;
  usage: {
    new_tokens: number;
    forced_tokens: number;
    accepted_tokens: number;
    failed_tokens: number;
    aborted_tokens: number;
    critical_path_tokens: number;
    parallel_speedup: number;
    seconds: number;
  };
}

export type Entry = { at: number } & (
  | {
      event: "accepted";
      text: string;
      check: unknown;
      policy: string;
      seed: number;
      /** Jobs do not tell theirs. */
      budget: { candidates: number } | null;
    }
  | { event: "candidate_started"; spec: Spec; prompt_tokens: number; question?: string }
  | { event: "branch_opened"; candidate: number; path: Path; plan: string }
  | {
      event: "tokens";
      candidate: number;
      path: Path;
      /** Milliseconds from `at` to the first token, and from each token to the next: one a token. */
      steps: number[];
      text: string;
      forced: number;
      positions: [first: number, last: number];
      logprob: number;
    }
  | { event: "branch_closed"; candidate: number; path: Path; cut: boolean }
  | { event: "joined"; candidate: number; path: Path; block: number }
  | { event: "response_finished"; candidate: number; reason: string; usage: Usage; detail: string }
  | {
      event: "answer_judged";
      candidate: number;
      path: Path;
      answer: string;
      verdict: Verdict;
      repeated: boolean;
    }
  | {
      event: "candidate_finished";
      candidate: number;
      answer: string | null;
      answer_class: number | null;
      reason: string;
      usage: Usage;
      seconds: number;
      forked: boolean;
      well_formed: boolean;
      detail: string;
      verdict: Verdict;
      /** Only of a candidate whose tokens are not told: a job's, or one that an earlier run has generated. */
      spec?: Spec;
      text?: string;
    }
  | { event: "round_finished"; round: number; stopped: string | null; tokens: number }
  | { event: "solved"; result: Outcome }
  | { event: "broken_off"; reason: string }
);
