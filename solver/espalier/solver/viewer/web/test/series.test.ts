import assert from "node:assert/strict";
import { test } from "node:test";
import { aligned, chartsOf, labelsOf, notesOf, seriesOf, smooth, stacked } from "../src/training/series";

const items = [
  { step: 1, reward: 0.1, by_task: { gcd: 0.5 }, done: 0.1, name: "x" },
  { step: 2, reward: 0.2, loss: null },
  { step: 2, reward: 0.3 },
  { step: 2, note: "nothing to train on" },
];

test("numbers become series, inner ones by their path; a repeated step counts as told last", () => {
  const series = seriesOf(items);
  assert.deepEqual(series.get("reward"), { steps: [1, 2], values: [0.1, 0.3] });
  assert.deepEqual([...series.keys()].sort(), ["by_task/gcd", "reward"]);
  assert.deepEqual(notesOf(items), [{ step: 2, text: "nothing to train on" }]);
});

test("charts come in the order in which people look for them, and leave no field out", () => {
  const fields = ["strange", "seconds_train", "seconds_generate", "loss", "accuracy", "reward", "mismatch_kl", "parallel", "well_formed", "by_task/gcd", "held_out/a", "held_out/b"];
  const charts = chartsOf(fields);
  assert.deepEqual(charts.flatMap((chart) => chart.fields).sort(), [...fields].sort());
  assert.deepEqual(charts.slice(0, 4).map(({ title }) => title), ["Reward", "Accuracy", "Accuracy by task", "Well-formed and parallel"]);
  assert.ok(charts.find(({ title }) => title === "Step time by phase")?.stacked);
});

test("labels leave out what all fields of a chart begin with", () => {
  assert.deepEqual(labelsOf(["seconds_generate", "seconds_train"]), ["generate", "train"]);
  assert.deepEqual(labelsOf(["well_formed", "parallel"]), ["well formed", "parallel"]);
});

test("series are aligned on their steps, smoothed without a lag at the start, and stacked", () => {
  assert.deepEqual(aligned([{ steps: [1, 3], values: [1, 3] }, { steps: [2, 3], values: [5, 6] }]), [[1, 2, 3], [1, null, 3], [null, 5, 6]]);
  assert.deepEqual(smooth([2, 2, null, 2], 0.9), [2, 2, null, 2]);
  assert.deepEqual(stacked([[1, 2], [3, null]]), [[1, 2], [4, 2]]);
});
