// One chart: lines of fields and runs over the steps, or parts of a whole on top of each other.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { aligned, type Chart, labelsOf, type Series, smooth, stacked } from "./series";

export interface Run {
  id: string;
  series: Map<string, Series>;
  colour: number;
}

interface Line {
  label: string;
  series: Series;
  colour: string;
  dash: number[];
}

const HEIGHT = 210;
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];

export function Plot({ chart, runs, weight, dark }: { chart: Chart; runs: Run[]; weight: number; dark: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const lines = useMemo(() => linesOf(chart, runs), [chart, runs, dark]);
  const whole = chart.stacked && runs.length === 1;
  const { data, raw } = useMemo(() => {
    const [steps, ...values] = aligned(lines.map(({ series }) => series));
    const shown = weight > 0 ? values.map((one) => smooth(one, weight)) : values;
    return { raw: shown, data: [steps, ...(whole ? stacked(shown) : shown)] as uPlot.AlignedData };
  }, [lines, weight, whole]);

  useLayoutEffect(() => {
    const element = place.current!;
    const style = getComputedStyle(document.documentElement);
    const value = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const larger = 1 / (Number(getComputedStyle(element).zoom) || 1); // the page is zoomed, charts are not: see base.css
    const height = HEIGHT * larger;
    const font = `${11 * larger}px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: value("muted"), font, grid: { stroke: value("line"), width: 1 }, ticks: { show: false } };
    const format = (number: number) => formatted(number, chart.unit);
    const options: uPlot.Options = {
      width: element.clientWidth,
      height,
      legend: { show: false },
      cursor: { sync: { key: "steps" }, y: false, points: { size: 6 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_, low, high) => rangeOf(low, high, chart.unit, whole) } },
      axes: [
        { ...axis, size: 28 * larger, grid: { show: false } },
        { ...axis, size: 52 * larger, values: (_, splits) => splits.map(format) },
      ],
      series: [
        {},
        ...lines.map(({ label, colour, dash }) => ({
          label,
          stroke: colour,
          width: (whole ? 1 : 1.6) * larger,
          dash,
          spanGaps: true,
          points: { show: (data[0]?.length ?? 0) < 3 },
          ...(whole ? { fill: `${colour}55` } : {}),
        })),
      ],
      ...(whole ? { bands: lines.slice(1).map((_, index) => ({ series: [index + 2, index + 1] as [number, number] })) } : {}),
      hooks: { setCursor: [(plot) => setAt(plot.cursor.idx ?? null)] },
    };
    const plot = new uPlot(options, data, element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [lines, data, dark]);

  const index = at ?? (data[0]?.length ?? 0) - 1;
  return (
    <section class="card plot" aria-label={chart.title}>
      <header>
        <h2>{chart.title}</h2>
        <span class="quiet">{at !== null && data[0]?.[at] !== undefined ? `step ${data[0][at]}` : ""}</span>
      </header>
      <ul class="keys">
        {lines.map((line, number) => (
          <li key={number}>
            <i style={{ background: line.colour, opacity: line.dash.length ? 0.55 : 1 }} />
            {line.label}
            <b>{shownAt(raw[number], index, chart.unit)}</b>
          </li>
        ))}
      </ul>
      <div ref={place} class="canvas" />
    </section>
  );
}

/** The value at an index, or the last one before it. */
function shownAt(values: (number | null)[] | undefined, index: number, unit: Chart["unit"]): string {
  for (let at = index; values && at >= 0; at--) {
    const value = values[at];
    if (value !== null && value !== undefined) return formatted(value, unit);
  }
  return "–";
}

function linesOf(chart: Chart, runs: Run[]): Line[] {
  const labels = labelsOf(chart.fields);
  const style = getComputedStyle(document.documentElement);
  const colour = (number: number) => style.getPropertyValue(`--series-${number % 8}`).trim();
  return runs.flatMap((run, number) =>
    chart.fields.flatMap((field, place) => {
      const series = run.series.get(field);
      if (!series) return [];
      const many = chart.fields.length > 1;
      const label = runs.length === 1 ? labels[place]! : many ? `${run.id}: ${labels[place]}` : run.id;
      return [{ label, series, colour: colour(many ? place : run.colour), dash: many ? DASHES[number % DASHES.length]! : [] }];
    }),
  );
}

function rangeOf(low: number | null, high: number | null, unit: Chart["unit"], whole: boolean): [number, number] {
  if (low === null || high === null) return [0, 1];
  if (unit === "share") return [Math.min(0, low), Math.max(1, high)];
  if (whole || unit === "seconds" || (low >= 0 && low < high * 0.6)) return [0, high * 1.08 || 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

function formatted(value: number, unit: Chart["unit"]): string {
  if (unit === "share") return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(1) : Number(value.toPrecision(size >= 1000 ? 4 : 3)).toLocaleString("en", { maximumFractionDigits: 6 });
  return unit === "seconds" ? `${text} s` : text;
}
