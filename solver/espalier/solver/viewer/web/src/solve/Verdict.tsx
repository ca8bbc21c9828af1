// A verdict and what it rests on.

import type { Evidence, Standing, Verdict as Value } from "./shown";
import { caseOf } from "./shown";

const SIGNS: Record<Standing, string> = { pass: "✓", fail: "✕", unknown: "?", error: "!", running: "…", aborted: "⊘" };

export function Badge({ standing, sign, children }: { standing: Standing; sign?: string; children?: string }) {
  return (
    <span class={`badge ${standing}`}>
      <span aria-hidden="true">{sign ?? SIGNS[standing]}</span> {children ?? standing}
    </span>
  );
}

export function Verdict({ verdict, answer }: { verdict: Value; answer: string | null }) {
  return (
    <div class="verdict">
      <p>
        <Badge standing={verdict.status} />
        {answer !== null && <code class="answer">{answer.length > 400 ? `${answer.slice(0, 400)}…` : answer}</code>}
        <span class="by">by {verdict.decided_by.replaceAll("_", " ")}{verdict.status !== "error" && verdict.score > 0 && verdict.score < 1 ? `, score ${verdict.score.toFixed(2)}` : ""}</span>
      </p>
      {verdict.evidence.length > 0 && <EvidenceList evidence={verdict.evidence} />}
      {verdict.feedback && !verdict.evidence.some(({ rule }) => rule.startsWith("case ")) && <p class="feedback">{verdict.feedback}</p>}
    </div>
  );
}

const NAMES: Record<string, string> = { extraction: "found", parse: "read as", constraint: "checked" };

function EvidenceList({ evidence }: { evidence: Evidence[] }) {
  const cases = evidence.flatMap((one) => caseOf(one) ?? []);
  const others = evidence.filter((one) => caseOf(one) === null);
  const failed = cases.filter((one) => !one.passed);
  return (
    <>
      {others.length > 0 && (
        <dl class="evidence">
          {others.map(({ rule, detail }, index) => (
            <div key={index}>
              <dt>{NAMES[rule] ?? rule}</dt>
              <dd>{detail}</dd>
            </div>
          ))}
        </dl>
      )}
      {cases.length > 0 && (
        <div class="cases">
          <p class="tally">
            {cases.length - failed.length} of {cases.length} {cases.length === 1 ? "case" : "cases"} passed
          </p>
          {cases.map((one, index) => (
            <details key={index} class={one.passed ? "case pass" : "case fail"} open={one === failed[0]}>
              <summary>
                <span aria-hidden="true">{one.passed ? "✓" : "✕"}</span> {one.name}
                {!one.passed && <span class="reason">{one.reason}</span>}
                <span class="cost">{Math.round(one.seconds * 1000)} ms · {one.memory} MiB</span>
              </summary>
              <div class="io">
                <Side name="Input" text={one.input} />
                <Side name="Expected" text={one.expected} />
                <Side name="Got" text={one.got} wrong={!one.passed} />
                {one.stderr.trim() && <Side name="Standard error" text={one.stderr} />}
              </div>
            </details>
          ))}
        </div>
      )}
    </>
  );
}

function Side({ name, text, wrong = false }: { name: string; text: string; wrong?: boolean }) {
  return (
    <div class={wrong ? "side wrong" : "side"}>
      <h4>{name}</h4>
      <pre tabIndex={0}>{text || "(empty)"}</pre>
    </div>
  );
}
