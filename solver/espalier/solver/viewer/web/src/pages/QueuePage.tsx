// The queue: how deep it is, who works on it, its batches and jobs, and what was given up.

import { useState } from "preact/hooks";
import { call } from "./api";
import { useNewest } from "./hooks";
import { ago, LinkState, said } from "./parts";
import { type Job, standingOf, State } from "./State";

interface DeadJob {
  id: string;
  text: string;
  reason: string;
  error: string;
  attempts: number;
  candidates: number;
  verdicts: Record<string, number>;
}

interface Snapshot {
  away?: string;
  depth: { lag: number; pending: number; dead: number };
  workers: { name: string; jobs: number; silent: boolean }[];
  batches: { id: string; key: string; jobs: number; gone: number; states: Record<string, number> }[];
  jobs: Job[];
  dead: DeadJob[];
}

export function QueuePage() {
  const [queue, link] = useNewest<Snapshot>("queue/events");
  if (!queue || queue.away) {
    return (
      <div class="above">
        <LinkState link={link} />
        {queue?.away && <p class="card notice" role="alert">The queue cannot be reached: {queue.away}</p>}
      </div>
    );
  }
  const alive = queue.workers.filter((worker) => !worker.silent);
  const silent = queue.workers.filter((worker) => worker.silent);
  return (
    <>
      <section class="card tiles" aria-label="Depth">
        <Tile name="waiting" value={queue.depth.lag} />
        <Tile name="running" value={queue.depth.pending} />
        <Tile name="given up" value={queue.depth.dead} bad={queue.depth.dead > 0} />
        <Tile name={alive.length === 1 ? "worker" : "workers"} value={alive.length} bad={alive.length === 0 && queue.depth.lag > 0} />
        <LinkState link={link} />
      </section>
      {queue.dead.length > 0 && <Dead jobs={queue.dead} all={queue.depth.dead} />}
      <div class="columns">
        <section class="card" aria-label="Batches">
          <header class="bar"><h2>Batches <span class="count">{queue.batches.length}</span></h2></header>
          {queue.batches.length === 0 && <p class="empty">No batch. Submit one with <code>espalier batch submit problems.jsonl</code></p>}
          <ul class="batches">
            {queue.batches.map((batch) => <BatchLine key={batch.id} batch={batch} />)}
          </ul>
        </section>
        <section class="card" aria-label="Workers">
          <header class="bar"><h2>Workers <span class="count">{alive.length}</span></h2></header>
          {queue.workers.length === 0 && <p class="empty">No worker. Start one with <code>espalier worker</code></p>}
          <Workers workers={alive} />
          {silent.length > 0 && (
            <details class="silent">
              <summary class="quiet">{silent.length} silent</summary>
              <Workers workers={silent} />
            </details>
          )}
        </section>
      </div>
      <Jobs jobs={queue.jobs} />
    </>
  );
}

function Workers({ workers }: { workers: Snapshot["workers"] }) {
  return (
    <ul class="list">
      {workers.map((worker) => (
        <li key={worker.name} class="line">
          <i class={`dot ${worker.silent ? "aborted" : "pass"}`} />
          <span class="what">{worker.name}</span>
          <span class="quiet">{worker.jobs === 1 ? "1 job" : `${worker.jobs} jobs`}</span>
        </li>
      ))}
    </ul>
  );
}

function Tile({ name, value, bad = false }: { name: string; value: number; bad?: boolean }) {
  return (
    <div class={bad ? "tile bad" : "tile"}>
      <strong>{value.toLocaleString("en")}</strong>
      <span>{name}</span>
    </div>
  );
}

function BatchLine({ batch }: { batch: Snapshot["batches"][number] }) {
  const { jobs, states } = batch;
  const parts = ["done", "running", "dead", "cancelled"].filter((state) => states[state]);
  const ended = jobs - (states.queued ?? 0) - (states.running ?? 0);
  return (
    <li>
      <span class="name" title={batch.id}>{batch.key || batch.id}</span>
      <span class="stack" role="progressbar" aria-valuemin={0} aria-valuemax={jobs} aria-valuenow={ended} aria-label="Jobs that have ended">
        {parts.map((state) => <i key={state} class={standingOf(state)} style={{ flexGrow: states[state]! }} />)}
        <i class="rest" style={{ flexGrow: jobs - parts.reduce((sum, state) => sum + states[state]!, 0) }} />
      </span>
      <span class="quiet">
        {ended} of {jobs}
        {states.dead ? `, ${states.dead} given up` : ""}
        {batch.gone ? `, ${batch.gone} gone` : ""}
      </span>
    </li>
  );
}

function Dead({ jobs, all }: { jobs: DeadJob[]; all: number }) {
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [fault, setFault] = useState("");
  const retry = async (jobs: string[], name: string) => {
    setBusy(new Set(busy).add(name));
    try {
      await call("dead", "POST", { jobs });
      setFault("");
    } catch (error) {
      setFault(said(error));
    }
    setBusy((before) => {
      const after = new Set(before);
      after.delete(name);
      return after;
    });
  };
  return (
    <section class="card" aria-label="Given up">
      <header class="bar">
        <h2>Given up <span class="count">{all}</span></h2>
        {fault && <span class="fault" role="alert">{fault}</span>}
        <button type="button" disabled={busy.has("")} onClick={() => void retry([], "")}>Retry all</button>
      </header>
      <ul class="dead-jobs">
        {jobs.map((job) => (
          <li key={job.id}>
            <div>
              <p class="what">{job.text}</p>
              <p class="why">{job.reason}</p>
              {job.error && job.error !== job.reason && <pre class="raw">{job.error}</pre>}
              <p class="quiet">
                <a href={`#/job/${encodeURIComponent(job.id)}`}>{job.id}</a> · {job.attempts} {job.attempts === 1 ? "delivery" : "deliveries"} ·{" "}
                {job.candidates} {job.candidates === 1 ? "candidate" : "candidates"} kept
                {Object.entries(job.verdicts).map(([status, count]) => `, ${count} ${status}`)}
              </p>
            </div>
            <button type="button" disabled={busy.has(job.id)} onClick={() => void retry([job.id], job.id)} aria-label={`Retry ${job.id}`}>
              Retry
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Jobs({ jobs }: { jobs: Job[] }) {
  const [only, setOnly] = useState("");
  const states = [...new Set(jobs.map((job) => job.state))];
  const shown = jobs.filter((job) => !only || job.state === only);
  return (
    <section class="card jobs" aria-label="Jobs">
      <header class="bar">
        <h2>Jobs <span class="count">{shown.length}</span></h2>
        <span class="chips">
          {states.map((state) => (
            <button key={state} type="button" class={`chip ${standingOf(state)}`} aria-pressed={only === state} onClick={() => setOnly(only === state ? "" : state)}>
              {state}
            </button>
          ))}
        </span>
      </header>
      {jobs.length === 0 && <p class="empty">No job yet.</p>}
      <div class="rows">
        <table>
          {jobs.length > 0 && (
            <thead>
              <tr><th>State</th><th>Job</th><th class="num">Candidates</th><th class="num">Attempts</th><th class="num">Seconds</th><th>Submitted</th><th class="wide">Reason</th></tr>
            </thead>
          )}
          <tbody>
            {shown.map((job) => (
              <tr key={job.id}>
                <td><State state={job.state} /></td>
                <td><a href={`#/job/${encodeURIComponent(job.id)}`}>{job.id}</a></td>
                <td class="num">{job.candidates}</td>
                <td class="num">{job.attempts}</td>
                <td class="num">{job.started !== null ? ((job.finished ?? Date.now() / 1000) - job.started).toFixed(1) : "–"}</td>
                <td class="quiet">{ago(job.submitted)}</td>
                <td class="wide quiet">{job.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
