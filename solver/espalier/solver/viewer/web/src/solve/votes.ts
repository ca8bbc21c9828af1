// Answers of a solve by class, and the rows of the table of candidates.

import { type Candidate, type Finish, type Solve, type Standing, standing, tokensOf } from "./model";

export interface AnswerClass {
  answer: string;
  /** Those that state it, as their answer or in a step that shares their vote. */
  candidates: number[];
  votes: number;
  standing: Standing;
  chosen: boolean;
}

const statesItsConclusion = ({ answerClass, branchAnswers }: Finish): boolean =>
  branchAnswers.some((stated) => stated.answerClass === answerClass);

/** Whether steps attempt the whole problem: most candidates conclude with what one of their steps states. */
function attemptTheWhole(solve: Solve): boolean {
  const finished = [...solve.candidates.values()].flatMap(({ finish }) => finish ?? []);
  const voting = finished.filter(
    ({ answerClass, branchAnswers, verdict }) => answerClass !== null && branchAnswers.length > 0 && verdict.score > 0,
  );
  return 2 * voting.filter(statesItsConclusion).length > voting.length;
}

/**
 * Answers by class, the most votes first. Without votes, equal texts are a class. A candidate has one vote: its answer and
 * those of its steps that share it have equal parts.
 */
export function answerClasses(solve: Solve): AnswerClass[] {
  const classes = new Map<string, AnswerClass>();
  const whole = attemptTheWhole(solve);
  for (const candidate of solve.candidates.values()) {
    const { finish, spec } = candidate;
    if (finish?.answer == null) continue;
    const steps = whole || statesItsConclusion(finish) ? finish.branchAnswers : [];
    const stated = [{ answer: finish.answer, answerClass: finish.answerClass }, ...steps];
    for (const { answer, answerClass } of stated) {
      const key = answerClass === null ? `text ${answer}` : `class ${answerClass}`;
      let found = classes.get(key);
      if (!found) {
        found = { answer, candidates: [], votes: 0, standing: standing(candidate), chosen: false };
        classes.set(key, found);
      }
      found.votes += 1 / stated.length;
      if (!found.candidates.includes(spec.index)) found.candidates.push(spec.index);
      if (spec.index === solve.outcome?.candidate && answer === solve.outcome.answer) {
        found.chosen = true;
        found.standing = standing(candidate);
        found.answer = answer;
      }
    }
  }
  return [...classes.values()].sort((a, b) => b.votes - a.votes || Number(b.chosen) - Number(a.chosen));
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
