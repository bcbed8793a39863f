// Readings of the points of a scan against time, or against one another.

import { useEffect, useMemo } from "react";

import type { Arrays } from "../arrays";
import { choose, useChosen } from "../chosen";
import { firstWithin, labelled, sortedPlaces, thinned } from "../curves";
import { useLive } from "../live";
import { useScalars, useScan } from "../measured";
import type { Curve } from "../plot/look";
import { Plot } from "../plot/Plot";
import type { Quantity } from "../server";
import type { TileProps } from "./tile";

export interface TrendOptions {
  /** The name of a reading; null: the time. */
  x: string | null;
  y: string[];
  /** So many seconds are shown, the last ones; null: all. */
  seconds: number | null;
}

/** Curves in one drawing, and points of one that are drawn. */
const MOST_CURVES = 4;
const MOST_POINTS = 20_000;
const LASTING: [number, string][] = [
  [10, "last 10 s"],
  [60, "last minute"],
  [600, "last 10 minutes"],
  [3600, "last hour"],
];

export function TrendTile({ options, setOptions, describe }: TileProps<TrendOptions>) {
  const { of, point } = useChosen();
  const hasRun = useLive(({ run }) => run !== null);
  const scan = useScan(of);
  const scalars = scan.data?.header.scalars ?? [];
  const known = new Map(scalars.map((one) => [one.name, one]));
  const x = options.x != null && known.has(options.x) ? options.x : null;
  const wanted = (options.y ?? []).filter((name) => known.has(name));
  const y = wanted.length > 0 ? wanted : usual(scalars, scan.data?.header.motors ?? []);
  const names = [...new Set([...y, ...(x === null ? [] : [x])])];
  const { data, error } = useScalars(names, of);
  const seconds = options.seconds ?? null;
  const start = useLive(({ runs }) => runs.find(({ uid }) => uid === data?.header.uid)?.time);
  const shown = useMemo(
    () => (data ? trendOf(data, { x, y, seconds, start }) : undefined),
    [data, x, y.join("\n"), seconds, start],
  );
  const unitOf = (name: string): string => labelled(name, known.get(name)?.unit);
  const title = y.length > 0 ? `${y.join(", ")} against ${x ?? "time"}` : "Trend";

  useEffect(() => {
    const table = (): Record<string, ArrayLike<unknown>> =>
      Object.fromEntries(Object.entries(data?.arrays ?? {}).map(([name, { values }]) => [name, values]));
    describe({ title, table: data && table });
  }, [title, data, describe]);
  if (!shown) {
    return (
      <p className="empty">
        {hasRun
          ? reasonOf(scan.error ?? error, scan.data?.header.scalars.length === 0)
          : "Readings are shown here when a scan has begun."}
      </p>
    );
  }
  const rest = scalars.filter(({ name }) => !y.includes(name));
  return (
    <div className="point-tile">
      <div className="tools">
        {y.map((name, number) => (
          <span key={name} className="choice">
            <select
              className="brief"
              aria-label={number === 0 ? "reading" : `reading ${number + 1}`}
              value={name}
              onChange={({ target }) => setOptions({ y: y.map((one) => (one === name ? target.value : one)) })}
            >
              {[name, ...rest.map((one) => one.name)].map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
            {y.length > 1 && (
              <button
                type="button"
                aria-label={`without ${name}`}
                onClick={() => setOptions({ y: y.filter((one) => one !== name) })}
              >
                ×
              </button>
            )}
          </span>
        ))}
        {y.length < MOST_CURVES && rest.length > 0 && (
          <select
            className="narrow"
            aria-label="one more reading"
            value=""
            onChange={({ target }) => target.value && setOptions({ y: [...y, target.value] })}
          >
            <option value="">add</option>
            {rest.map(({ name }) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        )}
        <label>
          <span>against</span>
          <select
            className="brief"
            aria-label="against"
            value={x ?? ""}
            onChange={({ target }) => setOptions({ x: target.value || null })}
          >
            <option value="">time</option>
            {scalars.map(({ name }) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <select
          className="brief"
          aria-label="how much of the scan"
          value={seconds ?? ""}
          onChange={({ target }) => setOptions({ seconds: Number(target.value) || null })}
        >
          <option value="">since the start</option>
          {LASTING.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </div>
      <Plot
        label={title}
        x={shown.x}
        xLabel={x === null ? `time since start / ${shown.unit}` : unitOf(x)}
        yLabel={known.get(y[0]!)?.unit ?? ""}
        curves={shown.curves}
        mark={point === "latest" ? undefined : shown.x[shown.points.indexOf(point)]}
        onPick={(index) => choose({ point: shown.points[index] ?? "latest" })}
      />
    </div>
  );
}

interface Trend {
  x: number[];
  /** Of the time. */
  unit: string;
  curves: Curve[];
  /** The number of the point of each. */
  points: number[];
}

interface Wanted extends TrendOptions {
  /** When the scan began, in s; else the time of its first point. */
  start: number | undefined;
}

/** Units of time, and how long a scan lasts that has them, in s. */
const UNITS: [unit: string, seconds: number, from: number][] = [
  ["h", 3600, 3 * 3600],
  ["min", 60, 300],
  ["s", 1, 0],
];

/** What is drawn of columns of readings. */
function trendOf({ arrays }: Arrays, { x, y, seconds, start }: Wanted): Trend {
  const column = (name: string): ArrayLike<number> => arrays[name]?.values ?? [];
  const [times, points] = [column("time"), column("seq_num")];
  const first = seconds === null ? 0 : firstWithin(times, seconds);
  const curves = y.map(column);
  const places = x === null ? thinned(curves, first, MOST_POINTS) : sortedPlaces(column(x), first, MOST_POINTS);
  const zero = start !== undefined && start <= times[0]! ? start : times[0]!;
  const lasting = times.length ? times[times.length - 1]! - zero : 0;
  const [unit, size] = UNITS.find(([, , from]) => lasting >= from) ?? UNITS.at(-1)!;
  const across = x === null ? (at: number) => (times[at]! - zero) / size : (at: number) => column(x)[at]!;
  return {
    x: places.map(across),
    unit,
    curves: curves.map((values, number) => ({
      label: y[number]!,
      values: places.map((at) => values[at]!),
      look: x === null ? "line" : "dots",
    })),
    points: places.map((at) => points[at]!),
  };
}

/** The first reading that is no position. */
function usual(scalars: Quantity[], motors: Quantity[]): string[] {
  const isMotor = (name: string): boolean =>
    motors.some((motor) => name === motor.name || name.startsWith(`${motor.name}_`));
  const first = scalars.find(({ name }) => !isMotor(name)) ?? scalars[0];
  return first ? [first.name] : [];
}

function reasonOf(error: Error | undefined, isEmpty: boolean): string {
  return error?.message ?? (isEmpty ? "This scan has no readings that are numbers." : "…");
}
