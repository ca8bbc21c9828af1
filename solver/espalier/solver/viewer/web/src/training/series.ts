// Records of training runs to series, and series to charts.

export type Value = unknown;
export type Item = Record<string, Value>;

/** Of one field: steps and values, in order. */
export interface Series {
  steps: number[];
  values: number[];
}

export interface Chart {
  title: string;
  /** Names of fields; more than one when they belong on one chart. */
  fields: string[];
  unit: "share" | "seconds" | "";
  /** Parts of a whole, drawn on top of each other when there is one run. */
  stacked: boolean;
}

export interface Note {
  step: number;
  text: string;
}

/** Numbers of a record by name; those of objects inside as `outer/inner`. */
function* numbers(item: Item, prefix = ""): Generator<[string, number]> {
  for (const [name, value] of Object.entries(item)) {
    if (typeof value === "number" && Number.isFinite(value)) yield [prefix + name, value];
    else if (typeof value === "object" && value !== null && !Array.isArray(value)) yield* numbers(value as Item, `${prefix}${name}/`);
  }
}

/** All series of a run, by field. A step that is told twice, after a resumed run, counts as it was told last. */
export function seriesOf(items: Item[]): Map<string, Series> {
  const found = new Map<string, Map<number, number>>();
  items.forEach((item, index) => {
    const step = typeof item.step === "number" ? item.step : index;
    for (const [name, value] of numbers(item)) {
      if (name === "step" || name === "done") continue;
      let series = found.get(name);
      if (!series) found.set(name, (series = new Map()));
      series.set(step, value);
    }
  });
  return new Map(
    [...found].map(([name, series]) => {
      const points = [...series].sort((a, b) => a[0] - b[0]);
      return [name, { steps: points.map(([step]) => step), values: points.map(([, value]) => value) }];
    }),
  );
}

export function notesOf(items: Item[]): Note[] {
  return items.flatMap((item) => (typeof item.note === "string" ? [{ step: Number(item.step ?? 0), text: item.note }] : []));
}

interface Family {
  title: string;
  pattern: RegExp;
  unit: Chart["unit"];
  together: boolean;
  stacked?: boolean;
}

/** What people look for first comes first. Fields of a family that is `together` share a chart. */
const FAMILIES: Family[] = [
  { title: "Reward", pattern: /^reward(_|$)/, unit: "", together: true },
  { title: "Accuracy", pattern: /^(accuracy|pass(@|_at_)\d+)$/, unit: "share", together: true },
  { title: "Accuracy by task", pattern: /^(accuracy|held_out_accuracy|by_task)[/_]/, unit: "share", together: true },
  { title: "Well-formed and parallel", pattern: /^(well_formed|parallel|forked)(_|$)/, unit: "share", together: true },
  { title: "Length", pattern: /^(tokens|critical_path|length)(_mean|_tokens)?$/, unit: "", together: true },
  { title: "Engine and trainer apart", pattern: /mismatch|difference|divergence|staleness|(^|_)kl(_|$)/, unit: "", together: false },
  { title: "Step time by phase", pattern: /^(seconds|time)[/_]/, unit: "seconds", together: true, stacked: true },
  { title: "Loss", pattern: /^loss$/, unit: "", together: true },
  { title: "Loss on held-out tasks", pattern: /^held_out\//, unit: "", together: true },
  {
    title: "Responses by fate",
    pattern: /^(passed|failed|truncated|malformed|unknown|verifier_error|engine_error)$/,
    unit: "",
    together: true,
  },
  { title: "Groups left out", pattern: /^dropped_/, unit: "", together: true },
];

/** The charts of some fields. */
export function chartsOf(fields: Iterable<string>): Chart[] {
  const left = new Set(fields);
  const charts: Chart[] = [];
  for (const { title, pattern, unit, together, stacked = false } of FAMILIES) {
    const own = [...left].filter((field) => pattern.test(field)).sort();
    if (!own.length) continue;
    own.forEach((field) => left.delete(field));
    if (together) charts.push({ title, fields: own, unit, stacked });
    else for (const field of own) charts.push({ title: `${title}: ${field.replaceAll("_", " ")}`, fields: [field], unit, stacked });
  }
  const groups = new Map<string, string[]>();
  for (const field of [...left]) {
    const group = field.includes("/") ? field.slice(0, field.indexOf("/")) : field;
    groups.set(group, [...(groups.get(group) ?? []), field]);
  }
  for (const [group, own] of groups) charts.push({ title: titleOf(group), fields: own, unit: "", stacked: false });
  return charts;
}

export function titleOf(field: string): string {
  const words = field.replaceAll("_", " ").replaceAll("/", " · ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What tells the fields of a chart apart: their names without what they all begin with. */
export function labelsOf(fields: string[]): string[] {
  if (fields.length === 1) return [titleOf(fields[0]!)];
  const parts = fields.map((field) => field.split(/[/_]/));
  let shared = 0;
  while (parts.every((words) => words.length > shared + 1 && words[shared] === parts[0]![shared])) shared++;
  return parts.map((words) => words.slice(shared).join(" "));
}

/** The values of several series on all their steps together; null where one has none. */
export function aligned(series: Series[]): [steps: number[], ...values: (number | null)[][]] {
  const steps = [...new Set(series.flatMap((one) => one.steps))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, index) => [step, index]));
  return [
    steps,
    ...series.map((one) => {
      const values: (number | null)[] = new Array<number | null>(steps.length).fill(null);
      one.steps.forEach((step, index) => {
        values[place.get(step)!] = one.values[index]!;
      });
      return values;
    }),
  ];
}

/** An exponential moving average that is exact at the beginning. */
export function smooth(values: (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + value;
    mass = weight * mass + 1;
    return sum / mass;
  });
}

/** Each series on top of those before it. */
export function stacked(values: (number | null)[][]): (number | null)[][] {
  const sums: number[] = [];
  return values.map((one) =>
    one.map((value, index) => {
      sums[index] = (sums[index] ?? 0) + (value ?? 0);
      return sums[index];
    }),
  );
}
