// Everything about one branch: its text, its verdict with evidence, its tokens and positions.

import { useEffect, useRef, useState } from "preact/hooks";
import { seconds } from "../picture/paint";
import { Inline, Rich } from "../rich/Rich";
import type { Path } from "./model";
import { longestChain } from "./critical";
import { type Branch, branchStanding, type Candidate, endOf, keyOf, nameOf, rootOf, type Solve, stepsOf } from "./model";
import { Badge, Verdict } from "./Verdict";

interface Props {
  solve: Solve;
  candidate: Candidate;
  path: Path;
  onSelect: (path: Path) => void;
  onClose: () => void;
}

export function Detail({ solve, candidate, path, onSelect, onClose }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  const [raw, setRaw] = useState(false);
  const branch = candidate.branches.get(keyOf(path)) ?? rootOf(candidate);
  const root = branch.path.length === 0;
  const standing = branchStanding(candidate, branch);
  const steps = stepsOf(candidate, branch.path);
  const place = `${candidate.spec.index} ${keyOf(path)}`;
  useEffect(() => heading.current?.focus(), [place]);

  return (
    <aside
      class="card detail"
      aria-label="Details"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        onClose();
      }}
    >
      <header class="bar">
        <h2 ref={heading} tabIndex={-1}>
          <button type="button" class="crumb" onClick={() => onSelect([])} disabled={root}>
            Candidate {candidate.spec.index}
          </button>
          {branch.path.map((_, depth) => (
            <span key={depth}>
              <span class="sep" aria-hidden="true">›</span>
              <button
                type="button"
                class="crumb"
                disabled={depth === branch.path.length - 1}
                onClick={() => onSelect(branch.path.slice(0, depth + 1))}
              >
                {nameOf([branch.path[depth]!])}
              </button>
            </span>
          ))}
        </h2>
        {standing && <Badge standing={standing} />}
        <button type="button" class="close" onClick={onClose} aria-label="Close details" title="Close (Esc)">✕</button>
      </header>
      <div class="body">
        {branch.plan && <p class="plan"><Inline text={branch.plan.replace(/^\d+:\s*/, "")} /></p>}
        <Facts solve={solve} candidate={candidate} branch={branch} />
        <Verdicts candidate={candidate} branch={branch} />
        {steps.length > 0 && (
          <section>
            <h3>Branches</h3>
            <ul class="steps">
              {steps.map((step) => {
                const how = branchStanding(candidate, step);
                return (
                  <li key={keyOf(step.path)}>
                    <button type="button" onClick={() => onSelect(step.path)}>
                      <span class="name">{nameOf([step.path.at(-1)!])}</span>
                      <span class="what">{step.plan.replace(/^\d+:\s*/, "")}</span>
                      {how ? <Badge standing={how} /> : <span class="quiet">{step.times.length} tokens</span>}
                    </button>
                  </li>
                );
              })}
            </ul>
          </section>
        )}
        <section>
          <h3>
            Text
            <label class="switch">
              <input type="checkbox" checked={raw} onChange={(event) => setRaw(event.currentTarget.checked)} /> as written
            </label>
          </h3>
          {raw ? <pre class="raw" tabIndex={0}>{branch.text}</pre> : <Rich key={place} text={branch.text} />}
        </section>
        {root && candidate.question !== null && (
          <details class="block">
            <summary>The question as put</summary>
            <pre class="raw">{candidate.question}</pre>
          </details>
        )}
      </div>
    </aside>
  );
}

function Facts({ solve, candidate, branch }: { solve: Solve; candidate: Candidate; branch: Branch }) {
  const root = branch.path.length === 0;
  const end = endOf(candidate, branch, solve.now);
  const count = branch.times.length;
  const sampled = count - branch.forced;
  const rows: [string, string][] = [["time", `${seconds(branch.opened)} – ${seconds(end)}`]];
  if (count) {
    rows.unshift(["tokens", `${count}${branch.forced ? ` (${branch.forced} forced)` : ""}`]);
    rows.push(["speed", `${Math.round(count / Math.max(end - branch.opened, 0.001))} tokens/s`]);
  }
  if (branch.positions) rows.push(["positions", branch.positions.join(" – ")]);
  if (sampled > 0 && branch.logprob) rows.push(["mean log-prob", (branch.logprob / sampled).toPrecision(2)]);
  if (root) {
    const { finish, spec } = candidate;
    if (finish) rows.unshift(["all branches", `${finish.usage.sampled_tokens + finish.usage.forced_tokens} tokens`]);
    rows.push(["critical path", `${finish?.usage.critical_path_tokens ?? longestChain(candidate).tokens} tokens`]);
    rows.push(["ended", finish ? `${finish.reason}${finish.detail ? `: ${finish.detail}` : ""}` : "not yet"]);
    rows.push(["temperature", String(spec.temperature)], ["seed", String(spec.seed)], ["round", String(spec.round)]);
    if (spec.way) rows.push(["way", spec.way]);
    if (finish) rows.push(["grammar", finish.wellFormed ? "kept" : ["aborted", "length"].includes(finish.reason) ? "not ended" : "broken"]);
    if (spec.repair) rows.push(["repairs", `candidate ${spec.repair.candidate}`]);
    if (spec.rejoin !== undefined) rows.push(["joins again", `candidate ${spec.rejoin}`]);
    if (spec.hint) rows.push(["hint", spec.hint]);
  } else if (branch.cut) rows.push(["closed", "by a limit"]);
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Verdicts({ candidate, branch }: { candidate: Candidate; branch: Branch }) {
  const { finish } = candidate;
  const own = branch.judgements.map(({ answer, verdict }) => ({ answer: answer as string | null, verdict }));
  const last = own.at(-1)?.verdict;
  if (branch.path.length === 0 && finish && (!last || last.status !== finish.verdict.status || last.decided_by !== finish.verdict.decided_by)) {
    own.push({ answer: finish.answer, verdict: finish.verdict });
  }
  if (own.length === 0) return null;
  return (
    <section>
      <h3>{own.length === 1 ? "Verdict" : "Verdicts"}</h3>
      {own.map((one, index) => <Verdict key={index} {...one} />)}
    </section>
  );
}
