import assert from "node:assert/strict";
import { test } from "node:test";
import { lanesOf, laneAt, ticks } from "../src/picture/lanes";
import { Reader } from "../src/pages/sse";
import { criticalPath, longestChain } from "../src/solve/critical";
import type { Entry } from "../src/solve/entries";
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
  branch_answers?: { answer: string; answer_class: number }[],
): Entry => ({
  seconds: 3,
  candidate_finished: {
    candidate: {
      spec: spec(candidate), ...(answer === null ? {} : { answer }), ...(answer_class === undefined ? {} : { answer_class }),
      ...(branch_answers === undefined ? {} : { branch_answers }), finish_reason,
      usage: { prompt_tokens: 1, sampled_tokens: 9, forced_tokens: 1, critical_path_tokens: 7 },
      seconds: 3, forked: true, well_formed: true, detail: "", verdict: verdict(status),
    },
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

test("answers are counted by class, and by text without votes", () => {
  const start = [0, 1, 2].map((index) => started(index));
  const votes = fold([...start, finished(0, "0.5", "unknown", "stop", 7), finished(1, "1/2", "unknown", "stop", 7), finished(2, "2", "unknown", "stop", 8)]);
  assert.deepEqual(answerClasses(votes).map(({ candidates }) => candidates), [[0, 1], [2]]);
  const texts = fold([...start, finished(0, "1", "fail"), finished(1, "2", "fail"), finished(2, "2", "fail")]);
  assert.deepEqual(answerClasses(texts).map(({ answer }) => answer), ["2", "1"]);
});

test("answers of steps have their part of a candidate's vote, and one that only they state can be the chosen one", () => {
  const steps = (...classes: number[]) => classes.map((answer_class) => ({ answer: String(answer_class), answer_class }));
  const solve = fold([
    started(0), started(1),
    finished(0, "5", "unknown", "stop", 5, steps(5, 4, 4)), finished(1, "6", "unknown", "stop", 6, steps(6, 4)),
  ]);
  solve.outcome = { answer: "4", candidate: 1 } as Outcome;
  const told = answerClasses(solve).map(({ answer, candidates, votes, chosen }) => [answer, candidates, Number(votes.toFixed(3)), chosen]);
  assert.deepEqual(told, [["4", [0, 1], 0.833, true], ["6", [1], 0.667, false], ["5", [0], 0.5, false]]);
});

test("a step shares a vote for something else only where most candidates conclude with what a step states", () => {
  const steps = (...classes: number[]) => classes.map((answer_class) => ({ answer: String(answer_class), answer_class }));
  const misread = finished(0, "9", "unknown", "stop", 9, steps(4, 4));
  const votesOf = (...others: Entry[]) =>
    answerClasses(fold([started(0), ...others.map((_, index) => started(index + 1)), misread, ...others])).find(({ answer }) => answer === "9")?.votes;
  const attempt = (index: number) => finished(index, "5", "unknown", "stop", 5, steps(5, 4));
  assert.equal(votesOf(attempt(1)), 1);
  assert.equal(votesOf(attempt(1), attempt(2)), 1 / 3);
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
