// Answers of a solve by class, and the rows of the table of candidates.

import { type Candidate, type Solve, type Standing, standing, tokensOf } from "./model";

export interface AnswerClass {
  key: string;
  answer: string;
  /** Those that conclude with it, then those that state it in a step. */
  candidates: number[];
  /** Its weight in the vote as the solver counts it; without a vote, the number of candidates that conclude with it. */
  votes: number;
  standing: Standing;
  chosen: boolean;
}

/**
 * Answers by class, the chosen one first, then the heaviest. Equal texts without a class are one. What only steps state is left out where it
 * weighs nothing.
 */
export function answerClasses(solve: Solve): AnswerClass[] {
  const classes = new Map<string, AnswerClass>();
  const { outcome, votes } = solve;
  const finished = [...solve.candidates.values()].filter(({ finish }) => finish?.answer != null);
  const voting = votes !== null && finished.some(({ finish }) => finish!.answerClass !== null);
  const find = (candidate: Candidate, answer: string, answerClass: number | null): AnswerClass => {
    const { index } = candidate.spec;
    const key = answerClass === null ? `text ${answer}` : `class ${answerClass}`;
    let found = classes.get(key);
    if (!found) {
      const weight = (voting && answerClass !== null && votes.get(answerClass)) || 0;
      found = { key, answer, candidates: [], votes: weight, standing: standing(candidate), chosen: false };
      classes.set(key, found);
    }
    if (!found.candidates.includes(index)) found.candidates.push(index);
    if (index === outcome?.candidate && answer === outcome.answer) Object.assign(found, { answer, standing: standing(candidate), chosen: true });
    return found;
  };
  for (const candidate of finished) {
    const { answer, answerClass } = candidate.finish!;
    const found = find(candidate, answer!, answerClass);
    if (!voting) found.votes += 1;
  }
  const concluded = new Set(classes.values());
  for (const candidate of finished) {
    for (const { answer, answerClass } of candidate.finish!.branchAnswers) find(candidate, answer, answerClass);
  }
  return [...classes.values()]
    .filter((one) => concluded.has(one) || one.votes > 0 || one.chosen)
    .sort((a, b) => Number(b.chosen) - Number(a.chosen) || b.votes - a.votes);
}

export interface Row {
  index: number;
  round: number;
  temperature: number;
  standing: Standing;
  answer: string | null;
  ended: string;
  tokens: number;
  critical: number;
  seconds: number;
  branches: number;
  wellFormed: boolean | null;
  winner: boolean;
}

export type Column = Exclude<keyof Row, "winner">;

export interface View {
  column: Column;
  descending: boolean;
  text: string;
  standings: ReadonlySet<Standing>;
}

export function rowOf(solve: Solve, candidate: Candidate): Row {
  const { finish, spec } = candidate;
  return {
    index: spec.index,
    round: spec.round,
    temperature: spec.temperature,
    standing: standing(candidate),
    answer: finish?.answer ?? null,
    ended: finish?.reason ?? candidate.ended?.reason ?? "running",
    tokens: tokensOf(candidate),
    critical: finish?.usage.critical_path_tokens ?? 0,
    seconds: (finish?.at ?? solve.now) - candidate.started,
    branches: candidate.branches.size - 1,
    wellFormed: finish?.wellFormed ?? null,
    winner: solve.outcome?.candidate === spec.index,
  };
}

/** The rows that a view shows, in its order. */
export function tableRows(solve: Solve, view: View): Row[] {
  const wanted = view.text.trim().toLowerCase();
  const rows = [...solve.candidates.values()]
    .map((candidate) => rowOf(solve, candidate))
    .filter((row) => view.standings.size === 0 || view.standings.has(row.standing))
    .filter((row) => !wanted || `${row.answer ?? ""} ${row.index} ${row.ended}`.toLowerCase().includes(wanted));
  const sign = view.descending ? -1 : 1;
  return rows.sort((a, b) => sign * compare(a[view.column], b[view.column]) || a.index - b.index);
}

function compare(a: Row[Column], b: Row[Column]): number {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return a < b ? -1 : 1;
}
