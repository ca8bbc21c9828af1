// The solve in a few lines: the problem, the answer and what it rests on, what it cost.

import { seconds } from "../picture/paint";
import { Inline } from "../rich/Rich";
import type { Solve } from "./model";
import { tokensOf } from "./model";
import { answerClasses } from "./votes";
import { Badge } from "./Verdict";

export function Summary({ solve, onSelect }: { solve: Solve; onSelect: (index: number) => void }) {
  const { outcome } = solve;
  return (
    <section class="card summary" aria-label="Summary">
      <div class="problem">
        <p class="text"><Inline text={solve.text} /></p>
        <p class="settings">
          {checkName(solve.check)} · policy {solve.policy}
          {solve.k !== null && ` · at most ${solve.k} ${solve.k === 1 ? "candidate" : "candidates"}`} · seed {solve.seed}
        </p>
      </div>
      <div class="outcome">
        <Answer solve={solve} onSelect={onSelect} />
        <Numbers solve={solve} />
        {outcome && <Fates solve={solve} />}
      </div>
      <Votes solve={solve} onSelect={onSelect} />
    </section>
  );
}

function Answer({ solve, onSelect }: { solve: Solve; onSelect: (index: number) => void }) {
  const { outcome, broken } = solve;
  if (!outcome) {
    return (
      <div class="answer">
        <strong class="quiet">{broken ? "Broken off" : "Solving…"}</strong>
        <p>{broken ?? `${solve.candidates.size} candidates so far`}</p>
      </div>
    );
  }
  return (
    <div class="answer">
      <strong class={outcome.answer === null ? "quiet" : ""}>{outcome.answer === null ? "Unsolved" : outcome.answer}</strong>
      <p>
        <Badge standing={outcome.verified ? "pass" : outcome.answer === null ? "fail" : "unknown"}>{outcome.verified ? "verified" : outcome.answer === null ? "unsolved" : "not verified"}</Badge>
        {outcome.candidate !== null && (
          <button type="button" class="winner" onClick={() => onSelect(outcome.candidate!)}>
            Candidate {outcome.candidate}
          </button>
        )}
      </p>
      <p class="why">{[outcome.reason, stopped(outcome.stopped)].filter(Boolean).join("; ")}</p>
    </div>
  );
}

function Numbers({ solve }: { solve: Solve }) {
  const { outcome } = solve;
  let tokens = outcome?.newTokens ?? 0;
  if (!outcome) for (const candidate of solve.candidates.values()) tokens += tokensOf(candidate);
  const shown: [string, string][] = [
    [seconds(outcome?.seconds ?? solve.now), "wall time"],
    [String(solve.candidates.size), solve.candidates.size === 1 ? "candidate" : "candidates"],
    [tokens.toLocaleString("en"), "tokens"],
  ];
  if (solve.comparisons) shown.push([String(solve.comparisons), solve.comparisons === 1 ? "comparison" : "comparisons"]);
  if (solve.examples) shown.push([String(solve.examples), solve.examples === 1 ? "stated example" : "stated examples"]);
  if (solve.tests !== null) shown.push([String(solve.tests), solve.tests === 1 ? "generated test" : "generated tests"]);
  if (outcome) {
    shown.push([`${outcome.speedup.toFixed(1)}×`, "parallel speed-up"]);
    shown.push([outcome.criticalPathTokens.toLocaleString("en"), "critical path"]);
  }
  return (
    <dl class="numbers">
      {shown.map(([value, name]) => (
        <div key={name}>
          <dd>{value}</dd>
          <dt>{name}</dt>
        </div>
      ))}
    </dl>
  );
}

function Fates({ solve }: { solve: Solve }) {
  const outcome = solve.outcome!;
  const fates = [
    ["accepted", "pass", outcome.acceptedTokens],
    ["not chosen", "fail", outcome.failedTokens],
    ["aborted", "aborted", outcome.abortedTokens],
    ["verification", "unknown", outcome.verificationTokens],
  ] as const;
  const all = Math.max(1, outcome.newTokens);
  const present = fates.filter(([, , count]) => count > 0);
  return (
    <figure class="fates" aria-label="Tokens by fate">
      <div class="stack" aria-hidden="true">
        {present.map(([name, colour, count]) => <i key={name} class={colour} style={{ flexGrow: count / all }} />)}
      </div>
      <figcaption>
        {present.map(([name, colour, count]) => (
          <span key={name}><i class={`dot ${colour}`} />{count.toLocaleString("en")} {name}</span>
        ))}
        <span class="quiet">{outcome.forcedTokens.toLocaleString("en")} forced</span>
      </figcaption>
    </figure>
  );
}

const SHOWN = 6;

function Votes({ solve, onSelect }: { solve: Solve; onSelect: (index: number) => void }) {
  const classes = answerClasses(solve);
  if (classes.length === 0) return null;
  const most = Math.max(...classes.map(({ votes }) => votes));
  return (
    <figure class="votes" aria-label="Answers by votes">
      <h3>Answers <span class="count">{classes.length}</span></h3>
      <ol>
        {classes.slice(0, SHOWN).map((one) => (
          <li key={one.key}>
            <button type="button" onClick={() => onSelect(one.chosen ? solve.outcome!.candidate! : one.candidates[0]!)} title={one.answer.slice(0, 300)}>
              <code>{one.answer.replace(/\s+/g, " ").slice(0, 80)}</code>
              <span class="track"><i class={one.standing} style={{ width: `${most && (100 * one.votes) / most}%` }} /></span>
              <span class="number">{Number(one.votes.toFixed(2))}</span>
            </button>
          </li>
        ))}
      </ol>
      {classes.length > SHOWN && <p class="quiet">and {classes.length - SHOWN} more</p>}
    </figure>
  );
}

function checkName(check: unknown): string {
  const kind = typeof check === "object" && check !== null ? Object.keys(check)[0] : undefined;
  return kind ? `checked by ${kind.replaceAll("_", " ")}` : "nothing to check by";
}

function stopped(reason: string): string {
  switch (reason) {
    case "passed":
      return "stopped at the first pass";
    case "consensus":
      return "stopped when the votes were clear";
    default:
      return `stopped by the limit of ${reason}`;
  }
}
