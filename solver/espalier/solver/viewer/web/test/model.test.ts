import assert from "node:assert/strict";
import { test } from "node:test";
import { lanesOf, laneAt, ticks } from "../src/picture/lanes";
import { Reader } from "../src/pages/sse";
import { criticalPath, longestChain } from "../src/solve/critical";
import type { Entry, Votes } from "../src/solve/entries";
import { branchStanding, fold, type Outcome, type Path, standing, type Status } from "../src/solve/model";
import { caseOf } from "../src/solve/shown";
import { answerClasses, tableRows, type View } from "../src/solve/votes";

const spec = (index: number, round = 0) => ({ index, round, seed: 1, temperature: 1, hint: "" });
const place = (candidate: number, path: Path) => ({ candidate, path: { turns: path.map(([block, step]) => ({ block, step })) } });
const started = (index: number, seconds = 0, round = 0): Entry => ({ seconds, candidate_started: { spec: spec(index, round) } });
const tokens = (candidate: number, path: Path, seconds: number, count: number): Entry => ({
  seconds, deltas: { ...place(candidate, path), steps: [0, ...new Array<number>(count - 1).fill(10)], text: "x".repeat(count), forced: 1, positions: [5, 5 + count - 1], logprob: -1 },
});
const opened = (candidate: number, path: Path, seconds: number, plan: string): Entry => ({ seconds, branch_opened: { ...place(candidate, path), plan } });
const verdict = (status: Status) => ({ status: `STATUS_${status.toUpperCase()}` as "STATUS_PASS", score: 1, decided_by: "test", evidence: [], feedback: "" });
const finished = (
  candidate: number, answer: string | null, status: Status, finish_reason = "stop", answer_class?: number,
  branch_answers?: { answer: string; answer_class: number }[], votes?: Votes,
): Entry => ({
  seconds: 3,
  candidate_finished: {
    candidate: {
      spec: spec(candidate), ...(answer === null ? {} : { answer }), ...(answer_class === undefined ? {} : { answer_class }),
      ...(branch_answers === undefined ? {} : { branch_answers }), finish_reason,
      usage: { prompt_tokens: 1, sampled_tokens: 9, forced_tokens: 1, critical_path_tokens: 7 },
      seconds: 3, forked: true, well_formed: true, detail: "", verdict: verdict(status),
    },
    ...(votes === undefined ? {} : { votes }),
  },
});

const forked: Entry[] = [
  { seconds: 0, accepted: { problem: { id: "p", text: "What?" }, policy: "adaptive", seed: "1", budget: { candidates: 8 } } },
  started(0),
  tokens(0, [], 0.1, 4),
  opened(0, [[0, 1]], 0.2, "1: add"),
  opened(0, [[0, 2]], 0.2, "2: sub"),
  tokens(0, [[0, 1]], 0.3, 3),
  tokens(0, [[0, 2]], 0.3, 6),
  opened(0, [[0, 2], [0, 1]], 0.4, "1: inner"),
  tokens(0, [[0, 2], [0, 1]], 0.5, 2),
  { seconds: 0.6, branch_closed: { ...place(0, [[0, 1]]), cut: false } },
  { seconds: 0.7, answer_judged: { ...place(0, [[0, 1]]), answer: "41", verdict: verdict("fail"), already_judged: false } },
];

test("entries fold into branches with text, times and positions", () => {
  const solve = fold(forked);
  const candidate = solve.candidates.get(0)!;
  assert.deepEqual([...candidate.branches.keys()], ["", "0.1", "0.2", "0.2/0.1"]);
  const step = candidate.branches.get("0.2")!;
  assert.equal(step.text, "xxxxxx");
  assert.equal(step.times.length, 6);
  assert.ok(Math.abs(step.times.at(-1)! - 0.35) < 1e-9);
  assert.deepEqual(step.positions, [5, 10]);
});

test("a stream that begins in the middle is taken as far as it makes sense", () => {
  const solve = fold(forked.slice(3));
  assert.equal(solve.candidates.size, 0);
  assert.ok(solve.now >= 0.7);
});

test("the critical path takes the longest step of each block, also of inner ones", () => {
  const solve = fold(forked);
  const chain = longestChain(solve.candidates.get(0)!);
  assert.equal(chain.tokens, 4 + 6 + 2);
  assert.deepEqual([...chain.branches].sort(), ["", "0.2", "0.2/0.1"]);
  assert.deepEqual([...criticalPath(solve).keys()], [0]);
});

test("each round has a critical path of its own", () => {
  const rounds: Entry[] = [0, 1, 2].flatMap((index): Entry[] => [
    started(index, index, index === 0 ? 0 : 1),
    tokens(index, [], index, 3 + index),
  ]);
  assert.deepEqual([...criticalPath(fold(rounds)).keys()], [0, 2]);
});

test("re-joins of a round have a critical path behind that of its candidates", () => {
  const rejoin: Entry = { seconds: 4, candidate_started: { spec: { ...spec(3), rejoin: 0 } } };
  const entries: Entry[] = [started(0), tokens(0, [], 0, 9), rejoin, tokens(3, [], 4, 2)];
  assert.deepEqual([...criticalPath(fold(entries)).keys()], [0, 3]);
});

test("how candidates and branches stand", () => {
  const solve = fold(forked);
  const candidate = solve.candidates.get(0)!;
  assert.equal(standing(candidate), "running");
  assert.equal(branchStanding(candidate, candidate.branches.get("0.1")!), "fail");
  const ended = fold([...forked, finished(0, null, "unknown", "aborted")]).candidates.get(0)!;
  assert.equal(standing(ended), "aborted");
  assert.equal(branchStanding(ended, ended.branches.get("0.2")!), "aborted");
});

const steps = (...classes: number[]) => classes.map((answer_class) => ({ answer: String(answer_class), answer_class }));
const told = (entries: Entry[], outcome?: Partial<Outcome>) => {
  const solve = fold(entries);
  if (outcome) solve.outcome = outcome as Outcome;
  return answerClasses(solve).map(({ answer, candidates, votes, chosen }) => [answer, candidates, votes, chosen]);
};

test("a class of answers weighs what was told of it last", () => {
  const usage = { prompt_tokens: 1, sampled_tokens: 1, forced_tokens: 0, critical_path_tokens: 1 };
  const entries: Entry[] = [
    started(0), started(1), started(2),
    finished(0, "0.5", "unknown", "stop", 7, [], { 7: 0.75 }), finished(1, "1/2", "unknown", "stop", 7, [], {}),
    finished(2, "2", "unknown", "stop", 8, [], { 8: 1 }),
  ];
  assert.deepEqual(told(entries), [["2", [2], 1, false], ["0.5", [0, 1], 0.75, false]]);
  const compared: Entry = { seconds: 4, compared: { first: 0, second: 2, score: 1, usage, votes: { 7: 1.75 } } };
  assert.deepEqual(told([...entries, compared]), [["0.5", [0, 1], 1.75, false], ["2", [2], 1, false]]);
});

test("who has no vote weighs nothing beside those who have one", () => {
  const entries = [started(0), started(1), finished(0, "1", "fail", "stop", undefined, [], {}), finished(1, "2", "unknown", "stop", 0, [], { 0: 0.5 })];
  assert.deepEqual(told(entries), [["2", [1], 0.5, false], ["1", [0], 0, false]]);
});

test("an answer that only steps state is shown where it weighs something or is the chosen one", () => {
  const entries = [
    started(0), started(1),
    finished(0, "5", "unknown", "stop", 5, steps(5, 4, 4), { 5: 0.5, 4: 0.5 }),
    finished(1, "6", "unknown", "stop", 6, steps(6, 4, 3), { 6: 0.5, 4: 0.75 }),
  ];
  const chosen = [["4", [0, 1], 0.75, true], ["5", [0], 0.5, false], ["6", [1], 0.5, false]];
  assert.deepEqual(told(entries, { answer: "4", candidate: 1 }), chosen);
  assert.deepEqual(told(entries, { answer: "3", candidate: 1 })[0], ["3", [1], 0, true]);
});

test("a solve that another run takes over begins its vote anew", () => {
  const accepted: Entry = { seconds: 0, accepted: { problem: { id: "p", text: "What?" }, policy: "adaptive", seed: "1" } };
  const entries = [accepted, started(0), finished(0, "5", "unknown", "stop", 5, [], { 5: 1 })];
  const again = finished(0, "5", "unknown", "stop", 0, [], { 0: 0.5 });
  assert.deepEqual(told([...entries, accepted, again]), [["5", [0], 0.5, false]]);
});

test("without a vote, and in traces that tell of none, candidates are counted by their answers", () => {
  const start = [0, 1, 2].map((index) => started(index));
  const checked = [finished(0, "1", "fail", "stop", undefined, [], {}), finished(1, "2", "fail", "stop", undefined, [], {}), finished(2, "2", "fail", "stop", undefined, [], {})];
  assert.deepEqual(told([...start, ...checked]), [["2", [1, 2], 2, false], ["1", [0], 1, false]]);
  const older = [finished(0, "0.5", "unknown", "stop", 7, steps(7, 9)), finished(1, "1/2", "unknown", "stop", 7), finished(2, "2", "unknown", "stop", 8)];
  assert.deepEqual(told([...start, ...older]), [["0.5", [0, 1], 2, false], ["2", [2], 1, false]]);
});

test("the table sorts and filters", () => {
  const start = [0, 1, 2].map((index) => started(index));
  const solve = fold([...start, finished(0, "b", "fail"), finished(1, "a", "pass"), finished(2, null, "unknown")]);
  const view: View = { column: "answer", descending: false, text: "", standings: new Set() };
  const order = (change: Partial<View>) => tableRows(solve, { ...view, ...change }).map(({ index }) => index);
  assert.deepEqual(order({}), [1, 0, 2]);
  assert.deepEqual(order({ column: "index", descending: true }), [2, 1, 0]);
  assert.deepEqual(order({ standings: new Set(["pass", "fail"] as const) }), [1, 0]);
  assert.deepEqual(order({ text: "B" }), [0]);
});

test("lanes open and close with their candidate, and are found by their place", () => {
  const solve = fold(forked);
  assert.equal(lanesOf(solve, new Set()).lanes.length, 1);
  const { lanes } = lanesOf(solve, new Set([0]));
  assert.deepEqual(lanes.map(({ parent }) => parent), [-1, 0, 0, 2]);
  for (const lane of lanes) assert.equal(laneAt(lanes, lane.y + 1), lane);
  assert.equal(laneAt(lanes, 1e6), null);
});

test("the axis has round times within its scale", () => {
  assert.deepEqual(ticks({ from: 0, to: 10, left: 0, right: 1000 }, 90), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.ok(ticks({ from: 0, to: 1e-3, left: 0, right: 300 }, 90).length <= 4);
});

test("a test case is read from evidence, and nothing else is taken for one", () => {
  const detail = JSON.stringify({ passed: false, reason: "differs", input: "1", expected: "2", got: "3", stderr: "", seconds: 0.1, memory_mib: 4 });
  assert.equal(caseOf({ rule: "case 1", detail })?.got, "3");
  assert.equal(caseOf({ rule: "case 1", detail: "no json" }), null);
  assert.equal(caseOf({ rule: "parse", detail }), null);
});

test("server-sent events are read from pieces of any size", () => {
  const text = 'id: 1\ndata: {"a":1}\n\n: still here\n\nevent: end\ndata: {}\n\n';
  for (const size of [1, 7, 1000]) {
    const reader = new Reader();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...reader.feed(text.slice(at, at + size)));
    assert.deepEqual(events, [{ id: "1", name: "message", data: '{"a":1}' }, { id: "", name: "end", data: "{}" }]);
  }
});

test("examples that a problem states are counted, and none are where a trace tells of none", () => {
  const accepted = { problem: { id: "p", text: "Write f." }, policy: "adaptive", seed: "1" };
  assert.equal(fold([{ seconds: 0, accepted: { ...accepted, examples: ["f(1) == 1", "f(2) == 4"] } }]).examples, 2);
  assert.equal(fold([{ seconds: 0, accepted }]).examples, 0);
});

test("tokens of verification count in the sum, and neither for a candidate nor in the speed-up", () => {
  const usage = (sampled_tokens: number) => ({ prompt_tokens: 1, sampled_tokens, forced_tokens: 1, critical_path_tokens: 0 });
  const spent = { accepted: usage(9), failed: usage(19), aborted: usage(0), verification: usage(49), critical_path_tokens: 31, seconds: 1 };
  const solved = { outcome: "OUTCOME_ANSWERED", decided_by: "DECIDED_BY_CONSENSUS", reason: "", stopped: "candidates", seed: "1", spent } as const;
  const tests = [{ source: "assert f(1) == 1", count: 2 }];
  const solve = fold([{ seconds: 0.5, written_tests: { tests, usage: usage(49) } }, { seconds: 1, solved }]);
  assert.equal(solve.tests, 1);
  const { newTokens, verificationTokens, forcedTokens, speedup } = solve.outcome!;
  assert.deepEqual({ newTokens, verificationTokens, forcedTokens, speedup }, { newTokens: 81, verificationTokens: 50, forcedTokens: 4, speedup: 1 });
});
